from __future__ import annotations

from itertools import pairwise

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robustbench_dml.report.figures.layout import text_size, wrap


@pytest.mark.parametrize("family", ["DejaVu Sans", "STIXGeneral"])
def test_a_text_is_as_wide_as_it_is_drawn(family: str) -> None:
    with mpl.rc_context({"font.family": [family], "text.parse_math": False}):
        figure = Figure(dpi=720)
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        for text, size in (("HM[S,g_LGA]&ICS", 8.0), ("benign recall at 1 (%)", 9.0)):
            box = figure.text(0, 0, text, fontsize=size).get_window_extent(renderer)
            assert text_size(text, size)[0] == pytest.approx(box.width / 10, rel=0.02)
        math = r"HM[S,$g_{\mathrm{LGA}}$]"
        box = figure.text(0, 0, math, fontsize=8, parse_math=True).get_window_extent(renderer)
        assert text_size(math, 8, typeset=True)[0] == pytest.approx(box.width / 10, rel=0.03)


def test_lines_are_broken_at_spaces_and_no_wider_than_the_room() -> None:
    text = "one two three four five six seven eight nine ten"
    lines = wrap(text, 60, 8)
    assert " ".join(lines) == text
    assert len(lines) > 2
    assert all(text_size(line, 8)[0] <= 60 for line in lines)
    joined = [f"{one} {other.split()[0]}" for one, other in pairwise(lines)]
    assert all(text_size(line, 8)[0] > 60 for line in joined)  # none could have held more
