"""Results of the checks: measurements and flags."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        flag: name of the flag.
        measured: measurements by name.
        raised: True if a measurement is beyond its limit.
        disqualifies: True if a model with this flag is not ranked. Flags that only show attacks too weak for the model
            do not disqualify.
    """

    flag: str
    measured: dict[str, float]
    raised: bool
    disqualifies: bool = True


@dataclass(frozen=True)
class Findings:
    """The results of all checks of one evaluation, in order."""

    all: tuple[Finding, ...]

    @property
    def flags(self) -> list[str]:
        """Names of the raised flags."""
        return [finding.flag for finding in self.all if finding.raised]

    @property
    def disqualifying(self) -> list[str]:
        """Names of the raised flags that disqualify the model."""
        return [finding.flag for finding in self.all if finding.raised and finding.disqualifies]

    @property
    def measured(self) -> dict[str, float]:
        """All measurements by name."""
        return {name: value for finding in self.all for name, value in finding.measured.items()}
