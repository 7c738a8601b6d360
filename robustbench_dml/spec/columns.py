"""Columns of the score table."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the score table.

    Attributes:
        name: as printed in the papers.
        meaning: what the value is, for a reader of the table.
        scale: the published unit in terms of ours (100 where we keep a fraction and the papers print per cent).
        ers_slope: with `ers_offset`, the linear map from the published value to the 0..100 of the Empirical
            Robustness Score, where more is more robust.
        ers_offset: see above.
    """

    name: str
    meaning: str
    scale: float
    ers_slope: float
    ers_offset: float

    def named(self, name: str) -> Column:
        """The same kind of column under another name."""
        return replace(self, name=name)

    def published(self, value: float) -> float:
        """A mean of ours in the unit of the papers."""
        return self.scale * value

    def ers(self, published: float) -> float:
        """A published value on the scale of the score. Not clipped, as published: it can pass 0 and 100."""
        return self.ers_offset + self.ers_slope * published


def recall_column(name: str) -> Column:
    """The column of an attack on a query's first place."""
    return Column(name=name, meaning="recall at 1 after the attack", scale=100, ers_slope=1, ers_offset=0)
