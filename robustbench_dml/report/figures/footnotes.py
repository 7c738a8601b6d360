"""The small print of a figure, from what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from robustbench_dml.report.figures.series import Layer, Point


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
            "Grey and crossed out: disqualified by a flag" if any(point.flag for point in shown) else "",
        ]
    return " ".join(f"{sentence}." for sentence in (*own, *further) if sentence)


def along(lines: Sequence[Sequence[Point]], score: str) -> str:
    """What differs along the lines of `marks.joined`: eta, with its direction, or the budget where eta is the same."""
    over = [line for line in lines if line[0].eta != line[-1].eta]
    etas = sorted({point.eta for line in over for point in line if point.eta})
    rises = all(line[-1].values[score] > line[0].values[score] for line in over)
    direction = "Along a line eta rises with the score" if rises else "Along a line eta rises"
    budgeted = sorted({line[0].eta or 0 for line in lines if line[0].eta == line[-1].eta})
    sentences = [
        f"{direction}: {', '.join(map(str, etas))}" if len(etas) > 1 else "",
        f"At eta {' and '.join(map(str, budgeted))} a line joins budgets" if budgeted else "",
    ]
    return ". ".join(sentence for sentence in sentences if sentence)


def declared(points: Sequence[Point]) -> str:
    """What open marks are, where there are any."""
    return "Open: training cost as its submitter declares it" if any(point.declared for point in points) else ""


def _seeds(points: Sequence[Point]) -> str:
    counts = sorted({len(point.seeds) for point in points})
    numbers = {point.seed_numbers for point in points if point.seed_numbers}
    if len(numbers) == 1:
        many = f"seed{'s' if counts[-1] > 1 else ''} {', '.join(map(str, *numbers))}"
    else:
        many = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else f"{counts[0]} seeds"
    if counts == [1]:
        return many.capitalize() if len(numbers) == 1 else "One seed each"
    return f"Large marks: means over {many}, small marks: single seeds"


def _sources(layer: Layer) -> str:
    """The sources, those of one paper together."""
    parts = [
        f"{paper} {', '.join(source.removeprefix(paper).strip() for source in group)}"
        for paper, group in groupby(layer.sources, key=lambda source: source.split(" ")[0])
    ]
    return f"Source: {'; '.join(parts)}"
