from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from robustbench_dml.evaluation.diagnostics import Findings
from robustbench_dml.evaluation.evaluate import Evaluated

EVALUATED = Evaluated(
    benign={"R@1": 50.0, "NMI": 20.0},
    attacked={"CA+": 12.5},
    scores={"ERS": 30.0},
    intervals={"R@1": (40.0, 60.0), "CA+": (10.0, 15.0), "ERS": (29.0, 31.5)},
    findings=Findings(()),
    per_query={"query": np.arange(7)},
)


def test_a_result_is_one_short_line() -> None:
    assert repr(EVALUATED) == "<Evaluated: ERS 30.0, R@1 50.0, 1 attacked columns, 7 queries>"


def test_the_frame_has_every_value_with_its_interval() -> None:
    frame = EVALUATED.to_frame()
    assert dict(frame["value"]) == EVALUATED.values
    assert dict(frame["group"]) == {"R@1": "benign", "NMI": "benign", "CA+": "attacked", "ERS": "score"}
    assert (frame.loc["CA+", "low"], frame.loc["CA+", "high"]) == (10.0, 15.0)
    assert math.isnan(float(frame.loc["NMI", "low"]))  # type: ignore[arg-type]


def test_the_plot_shows_scores_and_attacked_columns_on_the_given_axes() -> None:
    figure = Figure()
    axes = figure.add_subplot()
    assert EVALUATED.plot(ax=axes) is axes
    assert [bar.get_width() for bar in axes.patches] == [30.0, 12.5]  # type: ignore[attr-defined]
    assert [np.asarray(line.get_xdata()).tolist() for line in axes.lines] == [[10.0, 15.0], [29.0, 31.5]]
    assert EVALUATED.plot() is plt.gca()
    plt.close("all")
