"""Columns of the score table."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the score table.

    Attributes:
        name: as printed in the papers.
        meaning: of the value, for a reader of the table.
        scale: published value per stored value, for example 100 for a stored fraction printed in per cent.
        ers_slope: with `ers_offset`, the linear map from the published value to the 0..100 of the Empirical Robustness
            Score, where more is more robust.
        ers_offset: see above.
    """

    name: str
    meaning: str
    scale: float
    ers_slope: float
    ers_offset: float

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
