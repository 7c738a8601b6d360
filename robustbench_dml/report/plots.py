"""The two plots of the project: robustness against training cost, and against benign recall."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from robustbench_dml.evaluation import protocol_columns
from robustbench_dml.files import write_atomically
from robustbench_dml.records import Record
from robustbench_dml.registry import DEFENSES
from robustbench_dml.report.tables import title
from robustbench_dml.scores import scores_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP*Xhp"
# Okabe and Ito's colours, told apart by the colour-blind, without the yellow; grey; Tol's wine.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C8C8C", "#882255")
STYLE: Any = {
    "svg.hashsalt": "rbdml",  # the same records give the same bytes
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#e5e5e5",
}


def write_plots(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write `efficiency` and `tradeoff` as PNG and SVG into a folder; returns their paths.

    Models whose training cost is not known are in the second only; where it is known of none, there is no first.

    Args:
        records: of one data set, backbone and evaluation.
        folder: an existing one.
    """
    frame = _frame(records)
    subtitle = title(records)
    protocol = records[0].spec.evaluation.protocol
    score = scores_of(protocol, protocol_columns(protocol))[0].label
    appearance = _appearance(sorted(frame["defense"].unique()))
    drawn = {"tradeoff": _draw(frame, "R@1", "benign recall at 1 (%)", score, subtitle, appearance)}
    known = frame.dropna(subset=["passes"])
    if len(known) > 0:
        label = "training cost (million image passes, metered)"
        drawn = {"efficiency": _draw(known, "passes", label, score, subtitle, appearance), **drawn}
    return [path for name, figure in drawn.items() for path in _save(figure, folder, name)]


def _frame(records: Sequence[Record]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "defense": record.spec.label,
            "eta": math.nan if record.cost is None else record.cost.nominal_per_iteration - 1,
            "seed": math.nan if record.spec.seed is None else record.spec.seed,
            "disqualified": ", ".join(record.disqualifying),
            "passes": math.nan if record.cost is None else record.cost.passes / 1e6,
            "R@1": record.benign["R@1"],
            "R@1 low": record.intervals["R@1"][0],
            "R@1 high": record.intervals["R@1"][1],
            "score": record.ers,
            "score low": record.intervals[record.score][0],
            "score high": record.intervals[record.score][1],
        }
        for record in records
    ).sort_values(["defense", "eta", "seed", "passes", "R@1", "score"])


Appearance = Callable[[str], tuple[str, str]]


def _draw(frame: pd.DataFrame, x: str, label: str, score: str, subtitle: str, appearance: Appearance) -> Figure:
    with mpl.rc_context(sns.axes_style("whitegrid") | STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for defense, rows in frame.groupby("defense", sort=True):
            colour, marker = appearance(str(defense))
            axes.errorbar(
                rows[x],
                rows["score"],
                xerr=_error(rows, x) if f"{x} low" in rows else None,
                yerr=_error(rows, "score"),
                fmt=marker,
                color=colour,
                markersize=7,
                elinewidth=1,
                capsize=2,
                label=str(defense),
            )
        for row in frame[frame["disqualified"] != ""].to_dict("records"):
            axes.annotate(
                row["disqualified"], (row[x], row["score"]), xytext=(6, 6), textcoords="offset points", fontsize=8
            )
        _finish(axes, label, score, subtitle)
        if x == "passes":
            axes.set_xlim(left=0, right=1.15 * frame[x].max())
    return figure


def _finish(axes: Axes, label: str, score: str, subtitle: str) -> None:
    axes.set_xlabel(label)
    axes.set_ylabel(score)
    axes.set_title(subtitle, fontsize=8, loc="left", color="#555555")
    axes.margins(0.15)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]) if axes.dataLim.y0 < 0 else 0)
    axes.legend(frameon=False, fontsize=9)


def _error(rows: pd.DataFrame, name: str) -> list[pd.Series[float]]:
    # Rounding can put an end of an interval on the other side of its value by an ulp.
    return [(rows[name] - rows[f"{name} low"]).clip(lower=0), (rows[f"{name} high"] - rows[name]).clip(lower=0)]


def _appearance(shown: Sequence[str]) -> Appearance:
    """A colour for each family of defenses, the same in every plot, and a marker for each defense shown."""
    families = sorted({_family(info.name) for info in DEFENSES})

    def of(name: str) -> tuple[str, str]:
        family = _family(name)
        colour = families.index(family) if family in families else len(families)
        return COLOURS[colour % len(COLOURS)], MARKERS[shown.index(name) % len(MARKERS)]

    return of


def _family(name: str) -> str:
    return name.split("-", maxsplit=1)[0]


def _save(figure: Figure, folder: Path, name: str) -> list[Path]:
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with mpl.rc_context(STYLE):
        write_atomically(
            paths[0], lambda file: figure.savefig(file, format="png", dpi=150, metadata={"Software": None})
        )
        write_atomically(paths[1], lambda file: figure.savefig(file, format="svg", metadata={"Date": None}))
    return paths
