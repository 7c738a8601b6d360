"""The page in a browser: what a reader does, and that nothing is loaded, run or complained of."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from browser_support import CHROMIUM, DRIVER, FORMULA, HOSTILE, Reader, boards_with_gaps
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from robustbench_dml.leaderboard.page.render import render
from robustbench_dml.runs.record import read_record

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no chromium and chromedriver here: install Debian's chromium-driver"
)


def test_all_rows_are_there_and_the_disqualified_is_the_last_of_its_budget(reader: Reader) -> None:
    assert reader.defenses() == ["hm-lga-ics", "act", HOSTILE, FORMULA, "madry", "mine.py:factory@66666666"]
    assert reader.sections() == ["Budget: quick", "Models from elsewhere"]
    assert "PGD-32, eps 77/255" in reader.find("#protocol").text
    assert "R@2" not in reader.heads()


def test_columns_sort_both_ways_with_the_disqualified_last(reader: Reader) -> None:
    first = reader.defenses()
    reader.sort_by("R@1")
    assert reader.defenses() == first
    reader.sort_by("R@1")
    assert reader.defenses() == [*first[2::-1], FORMULA, *first[4:]]  # what is not known comes after what is
    reader.sort_by("eta + 1")
    assert reader.defenses()[0] == "act"
    assert reader.defenses()[-2:] == ["madry", "mine.py:factory@66666666"]  # disqualified; of another section
    assert "sort=eta" in reader.run("return location.hash")


def test_filters_leave_rows_in_the_table_and_in_the_plots(reader: Reader) -> None:
    reader.find("#search").send_keys("hm eta 32")
    reader.until("document.getElementById('count').textContent === '1 of 6 rows'")
    assert reader.defenses() == ["hm-lga-ics"]
    assert len(reader.points("tradeoff")) == 1
    reader.find("#search").clear()
    reader.find("#search").send_keys("x", Keys.BACKSPACE)
    reader.choose("#filter-flags", "not disqualified")
    reader.until("document.getElementById('count').textContent === '5 of 6 rows'")
    assert (len(reader.points("tradeoff")), len(reader.points("efficiency"))) == (4, 4)  # R@1, or the cost, not known
    reader.choose("#filter-defense", "act")
    reader.until("document.getElementById('count').textContent === '1 of 6 rows'")
    reader.choose("#filter-defense", "all")
    reader.choose("#filter-status", "verified")
    reader.until("document.getElementById('count').textContent === '0 of 6 rows'")
    assert "No row fits these filters." in reader.find("#table").text


def test_a_row_opens_and_closes_by_the_keyboard(reader: Reader, leaderboards: Path) -> None:
    reader.run("document.querySelector('#table .open').focus()")
    reader.press(Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ARROW_DOWN, Keys.ENTER)
    reader.until("document.getElementById('record').open")
    assert reader.find("#record-title").text == "act"
    shown = reader.find("#record").text
    assert "rbdml run --defense act --dataset glyphs-mini --eta 8" in shown
    record = reader.find("#record a").get_attribute("href")
    assert read_record(Path(str(record).removeprefix("file://")).parent).spec.label == "act"
    assert reader.run("return document.activeElement.closest('dialog').id") == "record"
    reader.find("#record [role=tab]").send_keys(Keys.ARROW_RIGHT)
    reader.until("document.querySelector('#record .command code').textContent.includes('--seed 1 --eta 8')")
    reader.press(Keys.ESCAPE)
    reader.until("!document.getElementById('record').open")
    assert reader.run("return document.activeElement.textContent") == "act"
    assert "row=" not in reader.run("return location.hash")


def test_a_click_on_a_row_or_a_point_opens_its_record(reader: Reader) -> None:
    reader.find("#table .tabulator-row .badge").click()
    reader.until("document.getElementById('record').open")
    reader.find("#record .close").click()
    reader.until("!document.getElementById('record').open")
    reader.run("document.getElementById('plot-tradeoff').scrollIntoView({block: 'center', behavior: 'instant'})")
    [key] = reader.run("return document.getElementById('plot-tradeoff').data.at(-1).customdata")
    point = reader.find("#plot-tradeoff .scatterlayer .trace:last-child .point")
    webdriver.ActionChains(reader.driver).move_to_element(point).pause(0.3).click().perform()
    reader.until("document.getElementById('record').open")
    assert f"row={key}" in reader.run("return location.hash")


def test_the_reported_layer_is_a_switch_and_stays_apart(reader: Reader) -> None:
    ours = reader.defenses()
    assert not reader.run("return document.getElementById('reported-switch').checked")
    assert not reader.find("#reported").is_displayed()
    reader.choose("#pick-dataset", "cub (reported)")
    reader.until("!document.getElementById('filled').checkVisibility()")
    assert "no records of ours yet for cub with resnet18" in reader.find("#empty").text
    assert reader.run("return document.getElementById('reported-switch').checked")  # nothing else is to be seen
    reader.until("document.querySelectorAll('#reported-table .tabulator-row').length > 10")
    assert "--dataset cub" in reader.find("#add-commands").text
    assert set(reader.points("tradeoff")) == {None}
    drawn = "document.getElementById('plot-efficiency').data"
    assert reader.run(f"return {drawn}.every((one) => [one.marker.symbol].flat().every((name) => /-open$/.test(name)))")
    again = f"{drawn}.filter((one) => new Set(one.x).size < one.x.length).map((one) => one.mode)"
    assert reader.run(f"return [{drawn}.some((one) => one.mode.startsWith('lines+markers')), {again}]") == [True, []]
    reader.choose("#pick-dataset", "fashion (reported)")
    reader.until(f"{again}.length > 0")
    assert reader.run(f"return {again}") == ["markers+text"] * 3  # regular, EST and ACT, of one eta by two sources each
    reader.find("#reported-switch").send_keys(Keys.SPACE)
    assert not reader.find("#reported").is_displayed()
    reader.choose("#pick-dataset", "glyphs-mini")
    reader.until("document.querySelectorAll('#table .open').length === 6")
    assert reader.defenses() == ours


def test_another_protocol_shows_its_own_board(reader: Reader) -> None:
    other = [option for option in Select(reader.find("#pick-protocol")).options if "PGD-64" in option.text]
    other[0].click()
    reader.until("document.querySelectorAll('#table .open').length === 1")
    assert reader.defenses() == ["est"]
    assert "PGD-64" in reader.find("#protocol").text


def test_columns_are_hidden_and_shown(reader: Reader) -> None:
    reader.find("#columns-menu summary").click()
    for name in ("GTT", "R@2"):
        reader.find(f'#columns-list input[value="{name}"]').click()
    assert "GTT" not in reader.heads() and "R@2" in reader.heads()
    reader.open(reader.run("return location.hash.slice(1)"))
    reader.until("document.getElementById('count').textContent")
    assert "GTT" not in reader.heads() and "R@2" in reader.heads()
    reader.run("document.querySelector('#columns-menu summary').focus()")
    reader.press(Keys.ENTER, Keys.ESCAPE)
    assert not reader.run("return document.getElementById('columns-menu').open")


def test_what_is_saved_is_what_is_shown(reader: Reader) -> None:
    reader.run(
        "window.saved = null; const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return make(blob); };"
    )
    reader.choose("#filter-flags", "not disqualified")
    reader.until("document.getElementById('count').textContent === '5 of 6 rows'")
    reader.find("#download").click()
    rows = list(csv.DictReader(io.StringIO(reader.until("window.saved"))))
    assert [row["defense"] for row in rows] == ["hm-lga-ics", "act", HOSTILE, f"'{FORMULA}", "mine.py:factory@66666666"]
    assert float(rows[0]["ERS low"]) < float(rows[0]["ERS"]) < float(rows[0]["ERS high"])
    assert "R@2" not in rows[0]


def test_an_address_opens_a_row(reader: Reader, leaderboards: Path) -> None:
    [key] = [row.key for board in boards_with_gaps(leaderboards) for row in board.rows if row.label == "madry"]
    reader.open(f"view=glyphs-mini&row={key}")
    reader.until("document.getElementById('record').open")
    assert "Disqualified (collapsed)" in reader.find("#record").text


def test_hostile_text_is_text_everywhere(reader: Reader) -> None:
    reader.choose("#filter-defense", HOSTILE)
    reader.until("document.getElementById('count').textContent === '1 of 6 rows'")
    reader.find("#table .open").send_keys(Keys.ENTER)
    reader.until("document.getElementById('record').open")
    assert reader.find("#record").text.count(HOSTILE) >= 5  # name, flags, by, paper, command
    assert reader.run("return document.querySelectorAll('img').length") == 0
    assert HOSTILE in str(reader.find("#key").get_attribute("textContent"))
    reader.press(Keys.ESCAPE)
    point = reader.find("#plot-tradeoff .scatterlayer .point")
    reader.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", point)
    webdriver.ActionChains(reader.driver).move_to_element(point).perform()
    label = reader.until("document.querySelector('#plot-tradeoff .hoverlayer')?.textContent")
    assert HOSTILE in label


def test_profiles_are_of_the_chosen_rows(reader: Reader) -> None:
    assert len(reader.run("return document.getElementById('plot-profile').data")) == 4
    reader.find('#table input[aria-label="profile of act"]').click()
    assert len(reader.run("return document.getElementById('plot-profile').data")) == 3
    assert "ACT[R]" not in reader.find("#profile-key").text
    reader.find('#table input[aria-label="profile of act"]').send_keys(Keys.SPACE)
    assert "ACT[R], eta 8" in reader.find("#profile-key").text


def test_plots_offer_nothing_that_leaves_the_page(reader: Reader) -> None:
    offered = "[...document.querySelectorAll('.modebar-btn')].map((one) => one.dataset.title)"
    assert set(reader.run(f"return {offered}")) == {"Download plot as a PNG", "Reset axes"}
    links = reader.run("return [...document.querySelectorAll('a[href^=\"http\"]')].map((one) => one.href)")
    assert links and all(link.startswith("https://arxiv.org/abs/") for link in links)


def test_the_licences_open_and_close(reader: Reader) -> None:
    reader.find("[data-open=licences]").send_keys(Keys.ENTER)
    assert "MIT License" in reader.find("#licences").text
    reader.press(Keys.ESCAPE)
    reader.until("!document.getElementById('licences').open")


def test_an_empty_leaderboard_says_so(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(render([], []).encode())
    empty = Reader(reader.driver, tmp_path)
    empty.open()
    assert "This leaderboard is empty" in empty.find("#empty").text
    assert "rbdml submit" in empty.find("#add").text
    assert not empty.find("#plots").is_displayed()
    assert not reader.driver.get_log("browser")
    reader.driver.get_log("performance")
    reader.open()
