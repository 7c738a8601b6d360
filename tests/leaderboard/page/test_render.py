from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_support import ENTRY, enter_made, made_record, made_spec, made_values, make_leaderboards

from robustbench_dml.leaderboard.board import Board, boards_of, read_boards
from robustbench_dml.leaderboard.entries import Listed, Verification
from robustbench_dml.leaderboard.page.data import page_data
from robustbench_dml.leaderboard.page.render import LIBRARIES, SCRIPTS, STYLES, embedded, render
from robustbench_dml.report.published import read_published
from robustbench_dml.runs.record import Record

HOSTILE = "</script><img src=x onerror=alert(1)><!--<script>\u2028\u2029&amp;'\"`${1}"
LARGEST = 3_000_000  # bytes


class Parsed(HTMLParser):
    """The elements of a page: scripts and styles with their text, every address, every attribute that runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": [], "pre": []}
        self.json = ""
        self.addresses: list[str] = []
        self.running: list[str] = []
        self.tags: list[str] = []
        self.policy = ""
        self._open = ""
        self._is_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [given[name] or "" for name in ("src", "href", "action", "srcset", "data") if name in given]
        self.running += [name for name in given if name.startswith("on") or name == "style"]
        self.policy = given.get("content") or "" if given.get("http-equiv") else self.policy
        self._open, self._is_data = tag, given.get("type") == "application/json"
        if tag in self.texts and not self._is_data:
            self.texts[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._is_data:
            self.json += data
        elif self.texts.get(self._open):
            self.texts[self._open][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._open, self._is_data = "", False


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> list[Board]:
    return read_boards(make_leaderboards(tmp_path_factory.mktemp("page")))


@pytest.fixture(scope="module")
def text(boards: list[Board]) -> str:
    return render(boards, read_published())


@pytest.fixture(scope="module")
def page(text: str) -> Parsed:
    return Parsed(text)


def test_the_same_boards_give_the_same_text(boards: list[Board], text: str) -> None:
    assert render(boards, read_published()) == text


def test_the_data_is_in_the_page(boards: list[Board], page: Parsed) -> None:
    assert json.loads(page.json) == page_data(boards, read_published())


def test_all_that_runs_is_allowed_by_its_hash_and_nothing_else(page: Parsed) -> None:
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert rules["img-src"] == "data: blob:"
    for kind in ("script", "style"):
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.texts[kind]]
        assert rules[f"{kind}-src"].split() == [f"'sha256-{one}'" for one in hashes]
    assert len(page.texts["script"]) == len(LIBRARIES) + 1
    assert "unsafe" not in page.policy
    assert not page.running  # inline handlers and styles, which the policy would refuse


def test_it_points_to_nothing_outside(page: Parsed) -> None:
    outside = [address for address in page.addresses if not address.startswith(("#", "data:image/svg+xml,"))]
    assert not outside
    assert not {"iframe", "object", "embed", "base", "img"} & set(page.tags)
    assert "sourceMappingURL" not in "".join(page.texts["script"])
    assert not re.search(r"url\((?!['\"]?data:)|@import", "".join(page.texts["style"]))


def test_our_own_scripts_build_no_html() -> None:
    own = [(files("robustbench_dml.leaderboard.page") / name).read_text(encoding="utf-8") for name in SCRIPTS]
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", "".join(own))
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", "".join(own))


def test_what_is_written_into_scripts_and_styles_cannot_end_them() -> None:
    for name in (*LIBRARIES, *SCRIPTS, *STYLES):
        content = (files("robustbench_dml.leaderboard.page") / name).read_text(encoding="utf-8")
        assert not re.search(r"</(script|style)|<!--|\r", content, re.IGNORECASE), name


def test_every_file_of_the_page_is_in_it() -> None:
    folder = files("robustbench_dml.leaderboard.page")
    scripts = {one.name for one in folder.iterdir() if one.name.endswith(".js")}
    assert scripts == set(SCRIPTS)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    entry = ENTRY.model_copy(update={"by": HOSTILE, "paper": HOSTILE})
    spec = made_spec("act").model_copy(update={"defense": HOSTILE, "params": {HOSTILE: HOSTILE}})
    enter_made(tmp_path, spec, entry=entry, flags=[HOSTILE])
    boards = read_boards(tmp_path)
    text, empty = render(boards, []), render([], [])
    found = Parsed(text)
    assert text.replace(found.json, "") == empty.replace(Parsed(empty).json, "")
    assert not set("<>&\u2028\u2029") & set(found.json)
    [row] = json.loads(found.json)["boards"][0]["rows"]
    [run] = row["runs"]
    assert row["label"] == run["entry"]["by"] == run["entry"]["paper"] == row["flags"][0] == HOSTILE


@pytest.mark.parametrize("value", ["\ud800", "\x00", "é中\U0001f600"])
def test_any_text_can_be_embedded_and_encoded(value: str) -> None:
    assert json.loads(embedded({"x": value}).encode()) == {"x": value}


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError):
        embedded([float("nan")])


def test_an_empty_leaderboard_has_a_page_that_says_how_to_add_to_it() -> None:
    text = render([], [])
    assert "rbdml submit" in text
    assert json.loads(Parsed(text).json)["boards"] == []


def test_the_licences_are_in_the_page(page: Parsed) -> None:
    shown = "\n".join(page.texts["pre"])
    for name in ("plotly", "tabulator"):
        assert (files("robustbench_dml.leaderboard.page") / "vendor" / f"{name}.LICENSE").read_text(
            encoding="utf-8"
        ) in shown


def test_the_libraries_are_as_published() -> None:
    folder = files("robustbench_dml.leaderboard.page") / "vendor"
    rows = re.findall(
        r"^\| `([\w.-]+)` .*`([0-9a-f]{64})` \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert {name for name, _ in rows} == {
        Path(name).name for name in (*LIBRARIES, *STYLES) if name.startswith("vendor")
    }
    for name, expected in rows:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == expected


def a_long_record(configuration: int, seed: int, rng: np.random.Generator) -> Record:
    """As much text as a real one: measurements, versions, hashes, digits."""
    defense = ("act", "hm-lga-ics", "hm-s-m", "est", "regular")[configuration % 5]
    spec = made_spec(defense, seed=seed, training={"lr": 1e-3 + configuration * 1e-6})
    values = made_values(spec, level=0.3 + 0.4 * rng.random(), seed=3 * configuration + seed)
    record = made_record(spec, values, flags=["more steps are stronger", "square beats PGD"])
    measured = {f"what was measured, number {place}": float(rng.random()) for place in range(11)}
    versions = {f"a library {place}": "1.22.333" for place in range(8)}
    made: dict[str, Any] = {"versions": versions, "weights": f"{3 * configuration + seed:064x}"}
    return record.model_copy(
        update={
            "diagnostics": record.diagnostics.model_copy(update={"measured": measured}),
            "provenance": record.provenance.model_copy(update=made),
        }
    )


def test_200_rows_of_three_verified_runs_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = [a_long_record(configuration, seed, rng) for configuration in range(200) for seed in range(3)]
    entries = [
        Listed(
            record,
            ENTRY.model_copy(
                update={
                    "verification": Verification(
                        created="2026-05-06T07:08:09+00:00",
                        queries=150,
                        differences={name: float(rng.normal()) for name in record.values},
                        unequal=float(rng.random()),
                        flags=[],
                        disqualifying=[],
                        versions=record.provenance.versions,
                        device="a processor (cpu)",
                        commit="0" * 40,
                        dirty=False,
                    )
                }
            ),
            tmp_path / record.digest,
        )
        for record in records
    ]
    [board] = boards_of(entries, tmp_path)
    assert (len(board.rows), {len(row.records) for row in board.rows}) == (200, {3})
    assert len(render([board], read_published()).encode()) < LARGEST
