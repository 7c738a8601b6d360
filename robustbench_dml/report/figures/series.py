"""What figures draw: defenses as series of points, from records of ours or from reported results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from robustbench_dml.report.deviations import changed_training
from robustbench_dml.report.names import paper_name, printable, shortened
from robustbench_dml.report.published import Reported
from robustbench_dml.report.rows import Row
from robustbench_dml.report.tables import title
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.protocols import evaluated_columns, protocol_columns
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.spec.scores import scores_of

Interval = tuple[float, float]
Passes = Callable[[Row], tuple[float | None, bool]]  # training passes, and whether they are declared
PASSES = "passes"  # among the values of a seed


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a table.

    Attributes:
        values: means over the seeds, in the units of the papers.
        intervals: 95% of these, bootstrap over the queries; none for reported results.
        seeds: the values of each seed, and its `passes` where they are known.
        seed_numbers: of the seeds; none where training was not ours.
        eta: PGD steps in training; None where that is not known.
        passes: image passes of a training, None likewise.
        declared: whether the submitter declares these passes.
        metered: passes of the batch per iteration as metered, None likewise.
        budget: what was granted, as text; empty where that is not known.
        flag: what disqualifies it, empty for nothing.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    seeds: tuple[Mapping[str, float], ...]
    seed_numbers: tuple[int, ...]
    eta: int | None
    passes: float | None
    declared: bool
    metered: float | None
    budget: str
    flag: str

    @property
    def cost(self) -> float | None:
        """The papers' cost of an iteration, eta + 1."""
        return None if self.eta is None else self.eta + 1.0


@dataclass(frozen=True)
class Series:
    """A defense with all its points, which differ by eta and budget.

    Attributes:
        name: as papers write it; no other series of its figure has the same.
        registered: its name here, or as reported.
        points: the best first, the disqualified last.
    """

    name: str
    registered: str
    points: tuple[Point, ...]

    @property
    def shown(self) -> str:
        """The name as there is room for it."""
        return shortened(self.name)

    @property
    def ranked(self) -> tuple[Point, ...]:
        """Those without a disqualifying flag."""
        return tuple(point for point in self.points if not point.flag)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """All that one figure is about: records of ours, or reported results, never both.

    Attributes:
        series: the one with the best point first.
        where: data set, backbone and evaluation in a line.
        score: the name of the score.
        score_label: its long name.
        columns: the attacked columns by name.
        reported: whether these are reported results.
        sources: where these are printed.
    """

    series: tuple[Series, ...]
    where: str
    score: str
    score_label: str
    columns: Mapping[str, Column]
    reported: bool = False
    sources: tuple[str, ...] = ()

    @property
    def points(self) -> list[Point]:
        """Of all series."""
        return [point for one in self.series for point in one.points]


def layer_of_rows(rows: Sequence[Row], passes: Passes | None = None) -> Layer:
    """Series of comparable rows from this project's records.

    Args:
        rows: at least one, the best first.
        passes: training passes of a row, and whether its submitter declares them; by default the metered passes.
    """
    evaluation = rows[0].records[0].spec.evaluation
    names = _names(rows)
    series: dict[str, tuple[str, list[Point]]] = {}
    for row, name in zip(rows, names, strict=True):
        cost = (row.passes, False) if passes is None else passes(row)
        series.setdefault(name, (row.label, []))[1].append(_point(row, *cost))
    return Layer(
        series=tuple(Series(name, printable(label), tuple(points)) for name, (label, points) in series.items()),
        where=title([record for row in rows for record in row.records]),
        score=rows[0].score,
        score_label=scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))[0].label,
        columns=evaluated_columns(evaluation),
    )


def layer_of_reported(reported: Sequence[Reported]) -> Layer:
    """Reported results of one data set and backbone; those that collapsed have no values and are left out."""
    score, *_ = scores_of("ers", protocol_columns("ers"))
    known = sorted((one for one in reported if score.name in one.values), key=lambda one: -one.values[score.name])
    series: dict[str, list[Point]] = {}
    for one in known:
        series.setdefault(one.defense, []).append(
            Point(
                values=one.values,
                intervals={},
                seeds=(),
                seed_numbers=(),
                eta=one.eta or 0,
                passes=None,
                declared=False,
                metered=None,
                budget=one.source,  # of one eta from two sources, neither continues the other
                flag="",
            )
        )
    return Layer(
        series=tuple(Series(name, name, tuple(points)) for name, points in series.items()),
        where=f"{reported[0].dataset}, {reported[0].backbone}",
        score=score.name,
        score_label=score.label,
        columns=protocol_columns("ers"),
        reported=True,
        sources=tuple(sorted({one.source for one in known})),
    )


def strands(points: Sequence[Point], *, by: str) -> list[list[Point]]:
    """The points of a defense that a line joins.

    All, in the order of eta, where each eta is there once. Otherwise several were budgeted in several ways, and one
    line is for each budget (`by` is "eta": over eta) or for each eta (`by` is "passes": over passes).
    """
    known = [point for point in points if point.eta is not None]
    if max(Counter(point.eta for point in known).values(), default=0) <= 1:
        return [sorted(known, key=lambda point: point.eta or 0)]
    if by == "eta":
        known.sort(key=lambda point: (point.budget, point.eta or 0))
        return [list(group) for _, group in groupby(known, key=lambda point: point.budget)]
    known.sort(key=lambda point: (point.eta or 0, point.passes or 0))
    return [list(group) for _, group in groupby(known, key=lambda point: point.eta)]


def _names(rows: Sequence[Row]) -> list[str]:
    """Of each row, the same for those that differ by eta and budget alone, and different for all others."""
    specs = [row.records[0].spec for row in rows]
    plain = [
        paper_name(spec.label, spec.params, spec.dataset) if isinstance(spec, RunSpec) else spec.model for spec in specs
    ]
    found = Counter(name for name, _ in {(name, _kind(spec)) for name, spec in zip(plain, specs, strict=True)})
    return [name if found[name] == 1 else _told(spec, name) for name, spec in zip(plain, specs, strict=True)]


def _told(spec: RunSpec | ExternalSpec, name: str) -> str:
    """A name that several share, with what sets this one apart."""
    return ", ".join([name, *changed_training(spec)]) if isinstance(spec, RunSpec) else spec.label


def _kind(spec: RunSpec | ExternalSpec) -> str:
    """What is the same in a series beside its name."""
    if not isinstance(spec, RunSpec):
        return spec.weights
    training = spec.training
    same = training.model_copy(update={"threat": training.threat.model_copy(update={"steps": 0})})
    return f"{same.model_dump_json()} {spec.pretrained}"


def _point(row: Row, passes: float | None, declared: bool) -> Point:
    spec = row.records[0].spec
    return Point(
        values=row.values,
        intervals=row.intervals,
        seeds=tuple(
            {**record.values, **({} if record.cost is None else {PASSES: record.cost.passes})} for record in row.records
        ),
        seed_numbers=row.seeds,
        eta=row.eta,
        passes=passes,
        declared=declared,
        metered=row.metered,
        budget=f"{spec.budget.kind} {spec.budget.amount}" if isinstance(spec, RunSpec) else "",
        flag=printable(", ".join(row.disqualifying)),
    )
