"""The page of a leaderboard in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from board_support import ENTRY, enter, enter_made, made_record, made_spec, made_values, make_leaderboards
from browser_support import ARGUMENTS, CHROMIUM, DRIVER, FORMULA, HOSTILE, MISSING, PARTS, Reader, boards_with_gaps
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from robustbench_dml.leaderboard.page.render import render
from robustbench_dml.report.published import read_published


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_leaderboards(tmp_path_factory.mktemp("browser"))
    hostile = made_spec("act").model_copy(update={"defense": HOSTILE, "params": {}})
    entry = ENTRY.model_copy(update={"by": HOSTILE, "paper": HOSTILE})
    enter_made(folder, hostile, level=0.2, entry=entry, flags=[HOSTILE])
    formula = made_spec("act").model_copy(update={"defense": FORMULA, "params": {}})
    values = made_values(formula, level=0.1)
    whole = made_record(formula, values)
    parts = {name: {key: value for key, value in getattr(whole, name).items() if key not in MISSING} for name in PARTS}
    enter(folder, whole.model_copy(update=parts), values)
    (folder / "index.html").write_bytes(render(boards_with_gaps(folder), read_published()).encode())
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def reader(browser: Any, leaderboards: Path) -> Iterator[Reader]:
    """On the freshly opened page; in the end, that nothing was complained of and nothing was asked for but the page."""
    one = Reader(browser, leaderboards)
    one.open()
    one.until("document.getElementById('count').textContent")
    yield one
    complaints = [entry["message"] for entry in browser.get_log("browser")]
    assert not complaints
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        message["params"]["request"]["url"].partition("#")[0]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    }
    local = {address for address in asked if address.startswith(("about:", "blob:", "data:", "chrome"))}
    assert asked - local == {one.address}
    assert one.run("return performance.getEntriesByType('resource').length") == 0
    assert one.run("return document.title").startswith("RobustBench-DML")
