"""The attacks of an evaluation in the log of its run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

from robustbench_dml.evaluation.attack_cache import AttackCache, DatasetStatus
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.utils import distributed
from robustbench_dml.utils.runlog import RunLog

EVERY = 5.0  # seconds between two lines on how far the attacks are


class LoggedCache(AttackCache):
    """What an evaluation has found, which tells the log of each attack and, in between, how far they are."""

    def __init__(self, log: RunLog, path: Path, *, of: str, every: float) -> None:
        """
        Args:
            log: where to.
            path: as in `AttackCache`.
            of: likewise.
            every: likewise.
        """
        super().__init__(path, of=of, every=every)
        self._log = log
        self._values: dict[str, dict[str, list[Tensor]]] = {}  # by attack and column, in blocks of queries
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._known = Counter[str]()
        self._asked = self._told = monotonic()

    def __exit__(self, *raised: object) -> None:
        """Write one line for each attack, where all are done."""
        super().__exit__(*raised)
        for name, columns in () if any(raised) else self._values.items():
            self._log.write(
                "attack",
                attack=name,
                **_share(),
                queries=_count(columns),
                known_before=self._known[name],
                seconds=self._seconds[name],
                values=_published(name, columns),
            )

    def get(self, attack: str, rows: Tensor) -> DatasetStatus | None:
        """See `AttackCache`."""
        found = super().get(attack, rows)
        self._asked = monotonic()
        if found is not None:
            self._known[attack] += len(rows)
            self._remember(attack, found)
        return found

    def add(self, attack: str, rows: Tensor, values: Mapping[str, Tensor]) -> DatasetStatus:
        """See `AttackCache`. What lies between asking for values and adding them is the attack."""
        found = super().add(attack, rows, values)
        now = monotonic()
        self._seconds[attack] += now - self._asked
        self._remember(attack, found)
        if now - self._told >= EVERY:
            self._told = now
            self._log.write("attacking", attack=attack, queries=_count(self._values[attack]))
        return found

    def _remember(self, attack: str, values: DatasetStatus) -> None:
        columns = self._values.setdefault(attack, {})
        for column, one in values.items():
            columns.setdefault(column, []).append(one)


def _count(columns: Mapping[str, list[Tensor]]) -> int:
    """Queries of an attack so far."""
    return sum(map(len, next(iter(columns.values()))))


def _published(attack: str, columns: Mapping[str, list[Tensor]]) -> dict[str, float]:
    """The mean of each column over the queries, in the units of the papers."""
    return {
        column.name: column.published(float(torch.cat(columns[column.name]).mean()))
        for column in ATTACKS.get(attack).columns
    }


def _share() -> dict[str, int]:
    """How many processes share the queries, where several do."""
    processes = distributed.world_size()
    return {"processes": processes} if processes > 1 else {}
