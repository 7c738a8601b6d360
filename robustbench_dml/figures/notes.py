"""The small print of a figure, from what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from robustbench_dml.figures.series import Layer, Point


def notes(layer: Layer, shown: Sequence[Point], *further: str) -> str:
    """What marks and bars are, then what is special about the figure, in sentences.

    Args:
        layer: that the figure is about.
        shown: its points that are drawn.
        further: sentences without their full stops; empty ones are left out.
    """
    if layer.reported:
        own = ["Hollow: as printed by the authors and computed with their code, not by this project", _sources(layer)]
    else:
        own = [
            _seeds(shown),
            "Bars: 95% bootstrap over the queries",
            "Open: training cost as its submitter declares it" if any(point.declared for point in shown) else "",
            "Grey and crossed out: disqualified by a flag" if any(point.flag for point in shown) else "",
        ]
    return " ".join(f"{sentence}." for sentence in (*own, *further) if sentence)


def etas(points: Sequence[Point]) -> str:
    """What the points of lines stand for, where these are several etas."""
    found = sorted({point.eta for point in points if point.eta is not None and point.eta > 0})
    return f"Along a line eta rises: {', '.join(map(str, found))}" if len(found) > 1 else ""


def _seeds(points: Sequence[Point]) -> str:
    counts = sorted({len(point.seeds) for point in points})
    if counts == [1]:
        return "One seed each"
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Large marks: means over {many} seeds, small marks: single seeds"


def _sources(layer: Layer) -> str:
    """The sources, those of one paper together."""
    parts = [
        f"{paper} {', '.join(source.removeprefix(paper).strip() for source in group)}"
        for paper, group in groupby(layer.sources, key=lambda source: source.split(" ")[0])
    ]
    return f"Source: {'; '.join(parts)}"
