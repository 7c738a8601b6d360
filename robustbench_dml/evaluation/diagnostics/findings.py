"""Results of the checks: measurements and flags."""

from __future__ import annotations

from dataclasses import dataclass

# The meaning of every flag, for readers of a board; limits are in the checks.
MEANINGS = {
    "collapsed": "all images have nearly the same embedding, so that no order means anything",
    "no gradient": "many images have no gradient, so that attacks by gradients do not start",
    "false gradient": "a step along the gradient does not do what the gradient promises",
    "random": "one image has different embeddings in two calls",
    "not benign at eps 0": "an unchanged query is not where the gallery has it",
    "large eps resisted": "the attack fails even where it may replace the whole image",
    "masked gradients": "searches without gradients are stronger than those with gradients",
    "PGD overstates": "all searches together lower the radius that PGD finds by more than half",
}


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
