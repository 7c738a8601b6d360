"""Records next to the published row of the same data set, backbone, defense and eta. The two are never averaged."""

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
from robustbench_dml.report.tables import cell, half_width, title
from robustbench_dml.runs.record import record_folders
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import text_table

NOTABLE = {"R@1": 2.0, "ERS": 5.0}  # differences above these limits need an explanation
WEIGHT = re.compile(r"&ICS ?\(\u03bb=([\d.]+)\)")  # an unusual weight of ICS, as the source prints it


@dataclass(frozen=True)
class PublishedMatch:
    """A row of this project and the row its authors report.

    Attributes:
        reported: the published row.
        row: the measured row, over its seeds.
        where: data set, backbone and evaluation of the measured row in a line.
    """

    reported: Reported
    row: Row
    where: str

    @property
    def difference(self) -> dict[str, float]:
        """Measured minus reported for all shared columns, in the units of the papers."""
        ours, theirs = self.row.values, self.reported.values
        return {name: ours[name] - theirs[name] for name in NAMES.values() if name in ours and name in theirs}

    @property
    def notable(self) -> dict[str, float]:
        """The differences above `NOTABLE`."""
        return {name: gap for name, gap in self.difference.items() if abs(gap) > NOTABLE.get(name, float("inf"))}


def match_published(folder: Path) -> tuple[list[PublishedMatch], list[str]]:
    """Match all rows below a folder with published rows.

    Args:
        folder: the folder of records, on boards or as runs write them.

    Returns:
        The matches, and a message for each record left out.

    Raises:
        RbdmlError: there are no records, or none has a published row.
    """
    groups, damaged = groups_of_records(folder)
    folders = {path.name: path for path in record_folders(folder)}
    published = read_published()
    matches = [
        PublishedMatch(reported, row, title(group))
        for group in groups
        for row in rows_of(group, readable_values(group, folders))
        for reported in _same(row, published)
    ]
    if not matches:
        raise RbdmlError(f"{folder}: no record of a data set, backbone, defense and eta with a published row")
    return matches, damaged


def matches_text(matches: Sequence[PublishedMatch]) -> str:
    """Return a table for each evaluation, then the notable differences and the sources."""
    sources = dict.fromkeys(match.reported.source for match in matches)
    marks = {source: f"[{number}]" for number, source in enumerate(sources, start=1)}
    parts = []
    for where in dict.fromkeys(match.where for match in matches):
        group = [match for match in matches if match.where == where]
        parts += [f"ours: {where}", text_table(line for match in group for line in _lines(match, marks))]
    notable = [
        f"{theirs.defense}, eta {theirs.eta or 0} {marks[theirs.source]}: {name} differs by {gap:+.1f}"
        for match in matches
        for theirs in (match.reported,)
        for name, gap in match.notable.items()
    ]
    limits = " or ".join(f"{limit:g} of {name}" for name, limit in NOTABLE.items())
    parts.append("\n".join([f"Differences of more than {limits}: {len(notable)}", *notable]))
    parts.append("\n".join(f"{mark} {source}" for source, mark in marks.items()))
    return "\n\n".join(parts)


def matches_data(matches: Sequence[PublishedMatch]) -> list[dict[str, Any]]:
    """Return the matches as plain data for JSON."""
    return [
        {
            "where": match.where,
            "defense": match.reported.defense,
            "eta": match.reported.eta or 0,
            "source": match.reported.source,
            "records": [record.digest for record in match.row.records],
            "seeds": list(match.row.seeds),
            "columns": {
                name: {
                    "reported": match.reported.values[name],
                    "ours": match.row.values[name],
                    "interval": match.row.intervals.get(name),
                    "seeds": match.row.spread[name],
                    "difference": gap,
                }
                for name, gap in match.difference.items()
            },
        }
        for match in matches
    ]


def _same(row: Row, published: Iterable[Reported]) -> Iterator[Reported]:
    """The published rows of a row's data set, backbone, defense and eta."""
    spec = row.records[0].spec
    name = paper_name(spec.label, spec.params, spec.dataset)
    for reported in published:
        theirs = WEIGHT.sub(lambda match: f"&ICS({float(match[1]):g})", reported.defense)
        key = (reported.dataset, reported.backbone, theirs, reported.eta or 0)
        if key == (spec.dataset, spec.network, name, row.eta) and not reported.collapsed:
            yield reported


def _lines(match: PublishedMatch, marks: Mapping[str, str]) -> Iterator[dict[str, object]]:
    row, reported, difference = match.row, match.reported, match.difference
    seeds = "seed" if len(row.seeds) == 1 else "seeds"
    lines: dict[str, dict[str, str]] = {
        f"reported {marks[reported.source]}": {name: cell(name, value) for name, value in reported.values.items()},
        f"ours, {seeds} {', '.join(map(str, row.seeds))}": {name: cell(name, row.values[name]) for name in difference},
        "95% +-": {name: cell(name, half_width(row.intervals[name])) for name in difference if name in row.intervals},
        "difference": {name: cell(name, gap, "+") for name, gap in difference.items()},
    }
    first: dict[str, object] = {"defense": reported.defense, "eta": reported.eta or 0}
    for heading, values in lines.items():
        yield {**first, "": heading, **{name: values.get(name, "") for name in NAMES.values()}}
        first = {"defense": "", "eta": ""}
