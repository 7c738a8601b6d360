"""The data of a figure: defenses as series of points, from records or from reported results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from robustbench_dml.report.deviations import changed_training
from robustbench_dml.report.figures.style import drawable
from robustbench_dml.report.names import paper_name, printable, shortened
from robustbench_dml.report.published import Reported
from robustbench_dml.report.ranking import Standing
from robustbench_dml.report.rows import Row
from robustbench_dml.report.tables import title
from robustbench_dml.spec.columns import Column
from robustbench_dml.spec.protocols import evaluated_columns, protocol_columns
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.spec.scores import scores_of

Interval = tuple[float, float]
Passes = Callable[[Row], tuple[float | None, bool]]  # training passes, and whether they are declared
PASSES, COST = "passes", "eta + 1"  # training cost among the values: image passes, and as the papers count it


@dataclass(frozen=True, kw_only=True)
class Point:
    """One row of a table.

    Attributes:
        values: means over the seeds, in the units of the papers, with the training cost where it is known.
        intervals: 95% intervals over seeds and queries; empty for reported results.
        seeds: values of each seed, with its training cost where it is known.
        seed_numbers: the random seeds; empty if this project did not train.
        eta: PGD steps in training; None if unknown.
        declared: whether the submitter declares the passes.
        budget: training budget as text; empty if unknown.
        flag: disqualifying flags; empty for none.
        baseline: whether this is a baseline, which no defense trains.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    seeds: tuple[Mapping[str, float], ...]
    seed_numbers: tuple[int, ...]
    eta: int | None
    declared: bool
    budget: str
    flag: str
    baseline: bool = False


@dataclass(frozen=True)
class Series:
    """A defense with all its points, which differ by eta, budget and precision.

    Attributes:
        name: paper name, unique in its figure.
        registered: name in the registry, or as reported.
        points: the best first, the disqualified last.
    """

    name: str
    registered: str
    points: tuple[Point, ...]

    @property
    def shown(self) -> str:
        """The name, shortened for a figure."""
        return shortened(self.name)

    @property
    def ranked(self) -> tuple[Point, ...]:
        """The points without a disqualifying flag."""
        return tuple(point for point in self.points if not point.flag)

    @property
    def declared(self) -> bool:
        """True if the submitter declares the passes of all points."""
        return all(point.declared for point in self.points)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The data of one figure: records of this project, or reported results, never both.

    Attributes:
        series: the defenses, the one with the best point first.
        where: data set, backbone and evaluation in a line.
        score: name of the score.
        score_label: long name of the score.
        columns: attacked columns by name.
        reported: whether these are reported results.
        sources: publications of reported results.
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
        """The points of all series."""
        return [point for series in self.series for point in series.points]

    @property
    def several_etas(self) -> bool:
        """True if points of defenses differ by eta, which then stands beside each."""
        return len({point.eta for point in self.points if point.eta}) > 1


def layer_of_rows(rows: Sequence[Row], passes: Passes | None = None) -> Layer:
    """Return the series of comparable rows.

    Args:
        rows: comparable rows, at least one.
        passes: training passes of a row, and whether its submitter declares them; by default the metered passes.
    """
    rows = sorted(rows, key=lambda row: (bool(row.disqualifying), -row.values[row.score]))
    evaluation = rows[0].records[0].spec.evaluation
    points: dict[str, list[Point]] = {}
    labels: dict[str, str] = {}
    for row, name in zip(rows, _names(rows), strict=True):
        cost = (row.passes, False) if passes is None else passes(row)
        points.setdefault(name, []).append(_point(row, *cost))
        labels.setdefault(name, drawable(printable(row.label)))
    return Layer(
        series=tuple(Series(drawable(name), labels[name], tuple(points[name])) for name in points),
        where=drawable(title([record for row in rows for record in row.records])),
        score=rows[0].score,
        score_label=scores_of(evaluation.protocol, protocol_columns(evaluation.protocol))[0].label,
        columns=evaluated_columns(evaluation),
    )


def layer_of_reported(reported: Sequence[Reported]) -> Layer:
    """Return the series of reported results of one data set and backbone, without the collapsed ones."""
    columns = protocol_columns("ers")
    score, *_ = scores_of("ers", columns)
    shown = [row for row in reported if score.name in row.values and not row.collapsed]
    known = sorted(shown, key=lambda row: -row.values[score.name])
    points: dict[str, list[Point]] = {}
    for row in known:
        point = Point(
            values={**row.values, COST: (row.eta or 0) + 1},
            intervals={},
            seeds=(),
            seed_numbers=(),
            eta=row.eta or 0,
            declared=False,
            budget=row.source,  # a line joins points of one source only
            flag="",
        )
        points.setdefault(row.defense, []).append(point)
    return Layer(
        series=tuple(Series(name, name, tuple(points[name])) for name in points),
        where=f"{reported[0].dataset}, {reported[0].backbone}",
        score=score.name,
        score_label=score.label,
        columns=columns,
        reported=True,
        sources=tuple(sorted({row.source for row in known})),
    )


def curves(points: Sequence[Point], *, by: str) -> list[list[Point]]:
    """Return the points that each line of a defense joins.

    If every eta occurs once, one line joins all points by eta. Otherwise the points have several budgets: `by`
    `PASSES` gives a line over passes for each eta, anything else a line over eta for each budget.
    """
    known = [point for point in points if point.eta is not None]
    if max(Counter(point.eta for point in known).values(), default=0) <= 1:
        return [sorted(known, key=lambda point: point.eta or 0)]
    if by == PASSES:
        known.sort(key=lambda point: (point.eta or 0, point.values[PASSES]))
        return [list(group) for _, group in groupby(known, key=lambda point: point.eta)]
    known.sort(key=lambda point: (point.budget, point.eta or 0))
    return [list(group) for _, group in groupby(known, key=lambda point: point.budget)]


def _names(rows: Sequence[Row]) -> list[str]:
    """Names of the rows: equal if rows differ only by eta, budget and precision, else different."""
    specs = [row.records[0].spec for row in rows]
    plain = [
        paper_name(spec.label, spec.params, spec.dataset) if isinstance(spec, RunSpec) else spec.model for spec in specs
    ]
    kinds = Counter(name for name, _ in {(name, _kind(spec)) for name, spec in zip(plain, specs, strict=True)})
    return [name if kinds[name] == 1 else _full_name(spec, name) for name, spec in zip(plain, specs, strict=True)]


def _full_name(spec: RunSpec | ExternalSpec, name: str) -> str:
    """Return a name that several series share, with the settings of this series."""
    return ", ".join([name, *changed_training(spec)]) if spec.trained_here else spec.label


def _kind(spec: RunSpec | ExternalSpec) -> str:
    """Everything except the name that the points of a series share. Neither eta nor the precision make another."""
    if not isinstance(spec, RunSpec):
        return spec.weights
    threat = spec.training.threat.model_copy(update={"steps": 0})
    same = spec.training.model_copy(update={"threat": threat, "precision": "fp32", "weight_precision": None})
    return f"{same.model_dump_json()} {spec.pretrained}"


def _point(row: Row, passes: float | None, declared: bool) -> Point:
    spec = row.records[0].spec
    cost = {} if row.eta is None else {COST: row.eta + 1}
    return Point(
        values={**row.values, **cost, **({PASSES: passes} if passes else {})},
        intervals=row.intervals,
        seeds=tuple(
            {**record.values, **cost, **({} if record.cost is None else {PASSES: record.cost.passes})}
            for record in row.records
        ),
        seed_numbers=row.seeds,
        eta=row.eta,
        declared=declared,
        budget="" if spec.budget is None else f"{spec.budget.kind} {spec.budget.amount}",
        flag=printable(", ".join(row.disqualifying)),
        baseline=row.standing is Standing.BASELINE,
    )
