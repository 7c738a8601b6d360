"""Columns of the score table."""

from __future__ import annotations

from dataclasses import dataclass, replace

RADIUS_SCALE = 255  # scale of radius columns: stored as parts of the pixel range, shown in 1/255


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the score table.

    Attributes:
        name: column name as printed in the papers.
        meaning: description of the value, for a reader of the table.
        scale: published value per stored value, for example 100 for a stored fraction printed in per cent.
        ers_slope: with `ers_offset`, the linear map from the published value to the 0..100 of the Empirical Robustness
            Score, where more is more robust.
        ers_offset: see above.
        median: shown as the median of the values above 0 instead of the mean of all.
    """

    name: str
    meaning: str
    scale: float
    ers_slope: float
    ers_offset: float
    median: bool = False

    def named(self, name: str) -> Column:
        """Return the same kind of column under another name."""
        return replace(self, name=name)

    def published(self, value: float) -> float:
        """Convert a stored mean to the unit of the papers."""
        return self.scale * value

    def ers(self, published: float) -> float:
        """Map a published value to the score's scale. As in the papers it is not clipped: it can leave 0..100."""
        return self.ers_offset + self.ers_slope * published


def recall_column(name: str) -> Column:
    """Return the column of an attack on a query's first rank."""
    return Column(name=name, meaning="recall at 1 after the attack", scale=100, ers_slope=1, ers_offset=0)


def radius_column(name: str, meaning: str, *, median: bool = False) -> Column:
    """The column of a least radius that breaks an item."""
    return Column(name=name, meaning=meaning, scale=RADIUS_SCALE, ers_slope=1, ers_offset=0, median=median)
