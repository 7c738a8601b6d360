"""Footnotes of a figure, derived from the points it shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from robustbench_dml.report.figures.series import Layer, Point


def notes(layer: Layer, shown: Sequence[Point], *further: str) -> str:
    """Return the footnotes: marks and bars, open marks, then the `further` sentences.

    Args:
        layer: the data that the figure shows.
        shown: the points of the layer that the figure shows.
        further: sentences without full stop; empty ones are skipped.
    """
    if layer.reported:
        first = ["Hollow: as printed by the authors and computed with their code, not by this project", _sources(layer)]
    else:
        first = [
            _seeds(shown),
            "Bars: 95% over seeds and queries",
            "Grey and crossed out: disqualified by a flag" if any(point.flag for point in shown) else "",
        ]
    declared = any(point.declared for point in shown)
    first.append("Open: training cost as its submitter declares it" if declared else "")
    return " ".join(f"{sentence}." for sentence in (*first, *further) if sentence)


def joined_by(layer: Layer, lines: Sequence[Sequence[Point]]) -> str:
    """Return the meaning of the numbers beside the marks, and of lines at one eta."""
    budgeted = sorted({line[0].eta or 0 for line in lines if line[0].eta == line[-1].eta})
    sentences = [
        "Numbers: eta" if layer.several_etas else "",
        f"At eta {' and '.join(map(str, budgeted))} a line joins budgets" if budgeted else "",
    ]
    return ". ".join(filter(None, sentences))


def _seeds(points: Sequence[Point]) -> str:
    counts = sorted({len(point.seeds) for point in points})
    numbers = {point.seed_numbers for point in points if point.seed_numbers}
    if len(numbers) == 1:
        seeds = f"seed{'s' if counts[-1] > 1 else ''} {', '.join(map(str, *numbers))}"
    else:
        seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
    if counts == [1]:
        return seeds.capitalize() if len(numbers) == 1 else "One seed each"
    return f"Large marks: means over {seeds}, small marks: single seeds"


def _sources(layer: Layer) -> str:
    """The sources, grouped by paper."""
    parts = [
        f"{paper} {', '.join(source.removeprefix(paper).strip() for source in group)}"
        for paper, group in groupby(layer.sources, key=lambda source: source.split(" ")[0])
    ]
    return f"Source: {'; '.join(parts)}"
