"""The attacks of an evaluation in the log of its run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor

from robustbench_dml.evaluation.attack_cache import AttackCache, Values
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.utils import distributed
from robustbench_dml.utils.runlog import RunLog

EVERY = 5.0  # seconds between two lines of progress


class LoggedCache(AttackCache):
    """An `AttackCache` that logs the progress and the result of every attack."""

    def __init__(self, log: RunLog, path: Path, *, of: str, every: float) -> None:
        """Arguments as in `AttackCache`; `log` is the run's log."""
        super().__init__(path, of=of, every=every)
        self._log = log
        self._values: dict[str, dict[str, list[Tensor]]] = {}  # values by attack and column, in blocks of queries
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._known = Counter[str]()
        self._requested = self._logged = monotonic()

    def __exit__(self, *raised: object) -> None:
        """Log a line for each attack if all are done."""
        super().__exit__(*raised)
        processes = distributed.world_size()
        for name, columns in () if any(raised) else self._values.items():
            self._log.write(
                "attack",
                attack=name,
                **({"processes": processes} if processes > 1 else {}),  # `queries` is then the share of this process
                queries=_count(columns),
                known_before=self._known[name],
                seconds=self._seconds[name],
                values=_published(name, columns),
            )

    def get(self, attack: str, rows: Tensor) -> Values | None:
        """See `AttackCache`."""
        values = super().get(attack, rows)
        self._requested = monotonic()
        if values is not None:
            self._known[attack] += len(rows)
            self._append(attack, values)
        return values

    def add(self, attack: str, rows: Tensor, values: Mapping[str, Tensor]) -> Values:
        """See `AttackCache`. The time since `get` counts as the attack's."""
        copies = super().add(attack, rows, values)
        now = monotonic()
        self._seconds[attack] += now - self._requested
        self._append(attack, copies)
        if now - self._logged >= EVERY:
            self._logged = now
            self._log.write("attacking", attack=attack, queries=_count(self._values[attack]))
        return copies

    def _append(self, attack: str, values: Values) -> None:
        columns = self._values.setdefault(attack, {})
        for column, one in values.items():
            columns.setdefault(column, []).append(one)


def _count(columns: Mapping[str, list[Tensor]]) -> int:
    """Number of queries attacked so far."""
    return sum(map(len, next(iter(columns.values()))))


def _published(attack: str, columns: Mapping[str, list[Tensor]]) -> dict[str, float]:
    """Mean of each column over the queries, in the papers' units."""
    return {
        column.name: column.published(float(torch.cat(columns[column.name]).mean()))
        for column in ATTACKS.get(attack).columns
    }
