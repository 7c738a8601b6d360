"""Chromium, and a reader who looks, types and clicks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from robustbench_dml.leaderboard.board import Board, read_boards

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
)
PATIENCE = 60  # seconds; a busy machine is slow, and a step that fails fails for good
HOSTILE = "</script><img src=x onerror=document.title='taken'>"
FORMULA = "=1+1"
MISSING = ("R@1", "CA+")  # of its record: a hand-made one can have gaps
PARTS = ("benign", "attacked", "intervals")


class Reader:
    """A reader of the page: looks, types and clicks as a person would."""

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver = driver
        self.address = (folder / "index.html").as_uri()

    def open(self, state: str = "") -> None:
        self.driver.get("about:blank")  # the same address with another fragment would not be loaded anew
        self.driver.get(f"{self.address}#{state}")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def until(self, script: str) -> Any:
        return WebDriverWait(self.driver, PATIENCE).until(lambda _: self.run(f"return {script}"), message=script)

    def choose(self, selector: str, text: str) -> None:
        Select(self.find(selector)).select_by_visible_text(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def defenses(self) -> list[str]:
        return self.run("return [...document.querySelectorAll('#table .open')].map((one) => one.textContent)")

    def sections(self) -> list[str]:
        return self.run(
            "return [...document.querySelectorAll('#table .tabulator-group')].map((one) => one.textContent)"
        )

    def heads(self) -> list[str]:
        heads = "[...document.querySelectorAll('#table .tabulator-col')].filter((one) => one.offsetParent)"
        return self.run(f"return {heads}.map((one) => one.textContent)")

    def points(self, plot: str) -> list[Any]:
        """The addresses of all points that a plot draws, None for what is reported."""
        traces = f"document.getElementById('plot-{plot}').data"
        return self.run(f"return {traces}.flatMap((one) => one.customdata ?? [])")

    def sort_by(self, name: str) -> None:
        self.find(f'#table .tabulator-col[tabulator-field="{name}"] .sort').send_keys(Keys.ENTER)


def boards_with_gaps(folder: Path) -> list[Board]:
    """Boards refuse a record with gaps; the page stands it all the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustbench_dml.leaderboard.board.require_complete", lambda *_: None)
        return read_boards(folder)
