"""The page explains itself, is accessible, and fits a phone."""

from __future__ import annotations

import pytest
from axe_core_python.selenium import Axe
from browser_support import CHROMIUM, DRIVER, Reader
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here: install Debian's chromium-driver"
)


def test_a_name_in_the_key_hides_or_isolates_its_points(reader: Reader) -> None:
    everyone = len(reader.points("tradeoff"))
    reader.find('#key [data-name="ACT[R]"]').send_keys(Keys.ENTER)
    reader.until("document.querySelector('#key [data-name=\"ACT[R]\"]').ariaPressed === 'false'")
    assert 0 < len(reader.points("tradeoff")) < everyone
    double_click = "document.querySelector('#key [data-name=\"ACT[R]\"]').dispatchEvent(new MouseEvent('dblclick'))"
    reader.run(double_click)
    reader.until("document.querySelectorAll('#key [aria-pressed=true]').length === 1")
    alone = reader.points("tradeoff")
    assert alone and len(alone) < everyone
    reader.run(double_click)
    reader.until("document.querySelectorAll('#key [aria-pressed=false]').length === 0")
    assert len(reader.points("tradeoff")) == everyone


def test_etas_stand_at_the_points_and_seeds_are_marked(reader: Reader) -> None:
    drawn = "document.getElementById('plot-efficiency').data"
    labels = reader.run(f"return {drawn}.flatMap((one) => one.text ?? []).map((one) => one.trim()).filter(Boolean)")
    assert {"8", "32"} <= set(labels)
    faint = reader.run(f"return {drawn}.filter((one) => one.marker.opacity < 1).map((one) => one.x.length)")
    assert faint and all(count > 1 for count in faint)
    assert reader.run("return document.getElementById('plot-efficiency').layout.xaxis.type") == "log"


def test_flags_are_explained(reader: Reader) -> None:
    assert "nearly the same embedding" in str(reader.find("#flag-meanings").get_attribute("textContent"))
    assert "nearly the same embedding" in str(reader.find("#table .badge.bad").get_attribute("title"))


def test_the_citation_and_the_papers_open(reader: Reader) -> None:
    for name, text in (("cite", "@software{robustbench_dml"), ("papers", "arXiv:2203.01439")):
        reader.find(f"[data-open={name}]").send_keys(Keys.ENTER)
        reader.until(f"document.getElementById('{name}').open")
        assert text in reader.find(f"#{name}").text
        reader.find(f"#{name} .close").click()
        reader.until(f"!document.getElementById('{name}').open")
    assert "Newest record: 20" in reader.find("footer").text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1440])
def test_axe_finds_no_grave_violation(reader: Reader, width: int, scheme: str) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    preferred = [{"name": "prefers-color-scheme", "value": scheme}]
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
    try:
        reader.open()
        reader.until("document.getElementById('count').textContent")
        for look in ("", "document.querySelector('#table .open').click()"):
            reader.run(look)
            found = Axe().run(reader.driver)["violations"]
            grave = [one for one in found if one["impact"] in ("critical", "serious")]
            assert [(one["id"], one["nodes"][0]["target"]) for one in grave] == []
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_on_a_phone_the_first_rows_and_a_plot_are_above_the_fold(reader: Reader) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        reader.open()
        reader.until("document.getElementById('count').textContent")
        top = "document.querySelectorAll('{}')[{}].getBoundingClientRect().{}"
        assert reader.run(f"return {top.format('#table .open', 1, 'bottom')}") < 500
        assert reader.run(f"return {top.format('.plot', 0, 'top')}") < 844 - 200
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [360, 390, 768])
def test_nothing_is_wider_than_a_phone(reader: Reader, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        reader.open()
        reader.until("document.getElementById('count').textContent")
        assert reader.run("return document.documentElement.scrollWidth") <= width
        reader.run("document.querySelector('#table .open').click()")
        assert reader.run("return document.querySelector('#record .body').scrollWidth") <= width
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
