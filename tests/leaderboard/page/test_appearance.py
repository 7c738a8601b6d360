from __future__ import annotations

import re
from importlib.resources import files

import pytest

from robustbench_dml.leaderboard.page.appearance import SYMBOLS, drawn
from robustbench_dml.report.figures.style import DASHES, MARKERS, SPARE, SeriesStyle

ALL = [*MARKERS.values(), *SPARE]


@pytest.mark.parametrize("marker", ALL)
def test_every_marker_of_the_figures_has_a_symbol_that_the_page_can_draw(marker: object) -> None:
    text = (files("robustbench_dml.leaderboard.page") / "looks.js").read_text(encoding="utf-8")
    shapes = text.partition("const SHAPES = {")[2].partition("};")[0]
    symbol = drawn(SeriesStyle("#000000", marker, "-"))["symbol"]
    assert symbol in re.findall(r"'?([\w-]+)'?: (?:'M|corners)", shapes)


def test_no_two_markers_have_the_same_symbol() -> None:
    assert len({SYMBOLS[marker] for marker in ALL}) == len(set(ALL))


def test_dashes_are_lengths_in_pixels() -> None:
    found = [drawn(SeriesStyle("#000000", "o", dash))["dash"] for dash in DASHES]
    assert found[0] == "solid"
    assert all(re.fullmatch(r"[\d.]+px(,[\d.]+px)+", dash) for dash in found[1:])
    assert len(set(found)) == len(DASHES)
