"""Values of a model as text, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

LEVEL = 95  # per cent of the intervals


class Shown:
    """What records and evaluations share: named values in the papers' units, with intervals."""

    if TYPE_CHECKING:  # declared by the classes themselves: pydantic would take these for the first fields
        benign: dict[str, float]
        attacked: dict[str, float]
        scores: dict[str, float]  # the ranking score first
        intervals: dict[str, tuple[float, float]]

    @property
    def values(self) -> dict[str, float]:
        """Every value by its column, benign first."""
        return {**self.benign, **self.attacked, **self.scores}

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each value: its group, the value, and the ends of its 95% interval (NaN without one)."""
        import pandas as pd

        groups: Mapping[str, Mapping[str, float]]
        groups = {"benign": self.benign, "attacked": self.attacked, "score": self.scores}
        rows = [
            (name, group, value, *self.intervals.get(name, (float("nan"), float("nan"))))
            for group, values in groups.items()
            for name, value in values.items()
        ]
        return pd.DataFrame(rows, columns=["column", "group", "value", "low", "high"]).set_index("column")

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a bar for each attacked column and score, with its 95% interval.

        Args:
            ax: matplotlib axes; by default the current axes.
        """
        import matplotlib.pyplot as plt

        axes = plt.gca() if ax is None else ax
        shown = {**self.scores, **self.attacked}
        axes.barh(list(shown), list(shown.values()), color="C0", alpha=0.6)
        for name, (low, high) in self.intervals.items():
            if name in shown:
                axes.plot([low, high], [name, name], color="black", linewidth=1)
        axes.invert_yaxis()
        axes.set_xlabel(f"value, {LEVEL}% interval over queries")
        return axes

    def _in_short(self) -> str:
        """The ranking score, R@1 and the number of attacked columns."""
        score, value = next(iter(self.scores.items()))
        return f"{score} {value:.1f}, R@1 {self.benign['R@1']:.1f}, {len(self.attacked)} attacked columns"
