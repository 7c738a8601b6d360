"""Records beside what was published for the same data set, backbone, defense and eta; the two are never averaged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustbench_dml.report.grouping import groups_of_records
from robustbench_dml.report.names import paper_name
from robustbench_dml.report.per_query import readable_values
from robustbench_dml.report.published import NAMES, Reported, read_published
from robustbench_dml.report.rows import Row, rows_of
from robustbench_dml.report.tables import decimals, title
from robustbench_dml.runs.record import record_folders
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import text_table

NOTABLE = {"R@1": 2.0, "ERS": 5.0}  # differences that want a cause
WEIGHT = re.compile(r"&ICS ?\(\u03bb=([\d.]+)\)")  # how the source writes another weight than its usual one


@dataclass(frozen=True)
class PublishedMatch:
    """A row of ours and the one that its authors report.

    Attributes:
        reported: theirs.
        row: ours, over its seeds.
        where: data set, backbone and evaluation of ours in a line.
    """

    reported: Reported
    row: Row
    where: str

    @property
    def difference(self) -> dict[str, float]:
        """Ours minus theirs, of the columns that both have, in the units of the papers."""
        theirs = self.reported.values
        return {name: self.row.values[name] - theirs[name] for name in NAMES.values() if self._both(name)}

    @property
    def notable(self) -> dict[str, float]:
        """The differences that are larger than `NOTABLE`."""
        return {name: gap for name, gap in self.difference.items() if abs(gap) > NOTABLE.get(name, float("inf"))}

    def _both(self, name: str) -> bool:
        return name in self.row.values and name in self.reported.values


def match_published(folder: Path) -> tuple[list[PublishedMatch], list[str]]:
    """All rows below a folder that have a published one; the second value is what was left out and why.

    Args:
        folder: of records, on boards or as runs leave them.

    Raises:
        RbdmlError: there are no records, or none of them has a published row.
    """
    groups, damaged = groups_of_records(folder)
    known = {path.name: path for path in record_folders(folder)}
    reported = read_published()
    found = [
        PublishedMatch(one, row, title(group))
        for group in groups
        for row in rows_of(group, readable_values(group, known))
        for one in _of(row, reported)
    ]
    if not found:
        raise RbdmlError(f"{folder}: no record of a data set, backbone, defense and eta with a published row")
    return found, damaged


def _of(row: Row, reported: Iterable[Reported]) -> Iterator[Reported]:
    spec = row.records[0].spec
    name = paper_name(spec.label, spec.params, spec.dataset)
    for one in reported:
        theirs = WEIGHT.sub(lambda match: f"&ICS({float(match[1]):g})", one.defense)
        same = (one.dataset, one.backbone, theirs, one.eta or 0) == (spec.dataset, spec.network, name, row.eta)
        if same and not one.collapsed:
            yield one


def matches_text(found: Sequence[PublishedMatch]) -> str:
    """Some lines a row, column by column, below the evaluation of ours; then what differs by much, and the sources."""
    sources = dict.fromkeys(one.reported.source for one in found)
    marks = {source: f"[{place}]" for place, source in enumerate(sources, start=1)}
    parts = []
    for where in dict.fromkeys(one.where for one in found):
        own = [one for one in found if one.where == where]
        parts += [f"ours: {where}", text_table(line for one in own for line in _lines(one, marks))]
    notable = [
        f"{theirs.defense}, eta {theirs.eta or 0} {marks[theirs.source]}: {name} differs by {gap:+.1f}"
        for one in found
        for theirs in (one.reported,)
        for name, gap in one.notable.items()
    ]
    limits = " or ".join(f"{limit:g} of {name}" for name, limit in NOTABLE.items())
    parts.append("\n".join([f"Differences of more than {limits}: {len(notable)}", *notable]))
    parts.append("\n".join(f"{mark} {source}" for source, mark in marks.items()))
    return "\n\n".join(parts)


def _lines(one: PublishedMatch, marks: Mapping[str, str]) -> Iterator[dict[str, object]]:
    row, theirs = one.row, one.reported.values
    seeds = "seed" if len(row.seeds) == 1 else "seeds"
    reported = f"reported {marks[one.reported.source]}"
    lines = {
        reported: {name: f"{value:.{decimals(name)}f}" for name, value in theirs.items()},
        f"ours, {seeds} {', '.join(map(str, row.seeds))}": {
            name: f"{row.values[name]:.{decimals(name)}f}" for name in one.difference
        },
        "95% +-": {
            name: f"{(row.intervals[name][1] - row.intervals[name][0]) / 2:.{decimals(name)}f}"
            for name in one.difference
            if name in row.intervals
        },
        "difference": {name: f"{gap:+.{decimals(name)}f}" for name, gap in one.difference.items()},
    }
    for what, values in lines.items():
        first = what == reported
        heading = {"defense": one.reported.defense if first else "", "eta": (one.reported.eta or 0) if first else ""}
        yield {**heading, "": what, **{name: values.get(name, "") for name in NAMES.values()}}


def matches_data(found: Sequence[PublishedMatch]) -> list[dict[str, Any]]:
    """The same for JSON."""
    return [
        {
            "where": one.where,
            "defense": one.reported.defense,
            "eta": one.reported.eta or 0,
            "source": one.reported.source,
            "records": [record.digest for record in one.row.records],
            "seeds": list(one.row.seeds),
            "columns": {
                name: {
                    "reported": one.reported.values[name],
                    "ours": one.row.values[name],
                    "interval": one.row.intervals.get(name),
                    "seeds": one.row.spread[name],
                    "difference": gap,
                }
                for name, gap in one.difference.items()
            },
        }
        for one in found
    ]
