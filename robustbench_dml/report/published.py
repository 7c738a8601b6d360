"""Results as their authors report them. They are never mixed with records of this project."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from robustbench_dml.utils.errors import RbdmlError

# Columns of the file, and their names in tables.
NAMES = {
    "r_at_1": "R@1",
    "r_at_2": "R@2",
    "map": "mAP",
    "nmi": "NMI",
    "ca_plus": "CA+",
    "ca_minus": "CA-",
    "qa_plus": "QA+",
    "qa_minus": "QA-",
    "tma": "TMA",
    "es_d": "ES:D",
    "es_r": "ES:R",
    "ltm": "LTM",
    "gtm": "GTM",
    "gtt": "GTT",
    "ers": "ERS",
}
FILE = "published.csv"
PLAIN = re.compile(r"[\w+-]+")
COMMIT, DATE = re.compile(r"([0-9a-f]{40})?"), re.compile(r"(\d{4}-\d\d(-\d\d(/\d{4}-\d\d-\d\d)?)?)?")


@dataclass(frozen=True, kw_only=True)
class Reported:
    """One row as its authors print it.

    Attributes:
        dataset: name of the data set.
        backbone: name of the backbone.
        defense: the defense's name as the source writes it.
        eta: PGD steps in training; None for training without attacks.
        collapsed: whether the authors report a collapsed training, without values.
        values: the reported values by the names of `NAMES`, in the units of the papers; empty if collapsed.
        source: publication and table, and whether the authors withdrew the row.
        commit: commit of the source, where it is known.
        date: when the source was published, a day or a month, or the first and the last day; empty if unknown.
    """

    dataset: str
    backbone: str
    defense: str
    eta: int | None
    collapsed: bool
    values: dict[str, float]
    source: str
    commit: str
    date: str


def read_published(path: Path | None = None) -> list[Reported]:
    """Read all reported rows, in the order of the file.

    Args:
        path: the file to read; by default the file in the package.

    Raises:
        RbdmlError: the file is missing or malformed.
    """
    file = files("robustbench_dml.leaderboards") / "published" / FILE if path is None else path
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise RbdmlError(f"{file}: cannot be read ({error.strerror}): name another file") from None
    except UnicodeDecodeError:
        raise RbdmlError(f"{file}: not in UTF-8: convert it") from None
    try:
        return list(_rows(text, str(file)))
    except csv.Error as error:
        raise RbdmlError(f"{file}: not readable as CSV ({error}): mend it") from None


def _rows(text: str, name: str) -> Iterator[Reported]:
    for line, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        try:
            values = {ours: float(row[theirs]) for theirs, ours in NAMES.items() if row[theirs] != ""}
            plain = all(PLAIN.fullmatch(row[name]) for name in ("dataset", "backbone"))  # part of file names
            dated = COMMIT.fullmatch(row["commit"]) and DATE.fullmatch(row["date"])
            if not (plain and dated) or not all(map(math.isfinite, values.values())):
                raise ValueError
            yield Reported(
                dataset=row["dataset"],
                backbone=row["backbone"],
                defense=row["defense"],
                eta=int(row["eta"]) if row["eta"] else None,
                collapsed={"0": False, "1": True}[row["collapsed"]],
                values=values,
                source=row["source"],
                commit=row["commit"],
                date=row["date"],
            )
        except (KeyError, TypeError, ValueError):
            raise RbdmlError(f"{name}: line {line} is not a row of published results: mend or remove it") from None
