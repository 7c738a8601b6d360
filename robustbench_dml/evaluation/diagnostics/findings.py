"""What the checks found: numbers, their limits, and the flags that they raise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        flag: its name, shown where it is raised.
        measured: by the name of what was measured, its value.
        raised: whether it is shown.
        disqualifies: whether a model with it cannot be ranked. What only says that the protocol's attacks were too
            weak for the model is shown and does not.
    """

    flag: str
    measured: dict[str, float]
    raised: bool
    disqualifies: bool = True


@dataclass(frozen=True)
class Findings:
    """All checks of one evaluation, in order."""

    all: tuple[Finding, ...]

    @property
    def flags(self) -> list[str]:
        """The names of those that are raised."""
        return [finding.flag for finding in self.all if finding.raised]

    @property
    def disqualifying(self) -> list[str]:
        """Of those, the ones with which a model cannot be ranked."""
        return [finding.flag for finding in self.all if finding.raised and finding.disqualifies]

    @property
    def measured(self) -> dict[str, float]:
        """Everything that was measured."""
        return {name: value for finding in self.all for name, value in finding.measured.items()}
