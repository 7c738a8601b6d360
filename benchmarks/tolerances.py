"""Differences of a record's values under other evaluations, the basis of the tolerances in docs/submitting.md.

    python benchmarks/tolerances.py RUNS > benchmarks/results/tolerances.md

RUNS is a folder of run folders, each with `checkpoint.safetensors`, made on this machine with one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from measure import circumstances, told
from tabulate import tabulate
from torch import nn

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.evaluate import attacked_values, benign_values, clusters_of, context_for
from robustbench_dml.leaderboard.submission.recheck import EQUAL, part_of
from robustbench_dml.leaderboard.submission.trust import claimed_model
from robustbench_dml.runs.record import CHECKPOINT_FILE, Record, read_queries, read_record, record_folders
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.schema import Precision

CPU = torch.device("cpu")
QUERIES = 512
ROUNDING = 1e-6  # standard deviation of what weights are multiplied by, around 1
PARTS, PART = 200, 128
COLUMNS = [
    "defense",
    "what differs",
    "queries",
    "values that differ",
    "a column, at most",
    "in standard errors",
    "in parts",
    "ERS",
    "benign",
]


@dataclass(frozen=True)
class Other:
    """An evaluation that differs slightly from the record's.

    Attributes:
        name: name of the difference.
        batch_size: images attacked at once.
        precision: precision of the attack steps; None takes the record's.
        within: context of the evaluation.
        change: change of the model.
    """

    name: str
    batch_size: int = 128
    precision: Precision | None = None
    within: Callable[[], AbstractContextManager[object]] = nullcontext
    change: Callable[[nn.Module], object] = nn.Module.eval


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute with this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Multiply every weight by 1 and a little noise, the same each time."""
    rng = torch.Generator().manual_seed(0)
    for weights in model.parameters():
        weights.mul_(1 + ROUNDING * torch.randn(weights.shape, generator=rng))


OTHERS = (
    Other("nothing"),
    Other("2 threads", within=lambda: threads(2)),
    Other("batches of 50", batch_size=50),
    Other("batches of 16", batch_size=16),
    Other("rounding", change=round_weights),
    Other("other kernels", within=lambda: torch.backends.mkldnn.flags(enabled=False)),
    Other("bf16", precision="bf16"),
)


def gaps(run: Path, record: Record, dataset: Dataset, other: Other) -> tuple[dict[str, np.ndarray], float]:
    """Return (P,) recorded minus new values of each column, and the largest change of a benign mean, in points."""
    model, values = claimed_model(record, run / CHECKPOINT_FILE, CPU), read_queries(run)
    other.change(model)
    evaluation = record.spec.evaluation
    if other.precision is not None:
        evaluation = evaluation.model_copy(update={"precision": other.precision})
    part, rows = part_of(record, len(values["query"]), QUERIES), torch.from_numpy(values["query"])
    with other.within():
        context = context_for(model, dataset, evaluation, device=CPU)
        benign = {name: 100 * float(each.mean()) for name, each in benign_values(context, rows).items()}
        benign["NMI"] = 100 * clusters_of(context).nmi(context.split.labels)
        attacked = attacked_values(context, rows[part], batch_size=other.batch_size)
    found = {name: values[name][part] - attacked[name].numpy() for name in evaluated_columns(evaluation)}
    return found, max(abs(record.benign[name] - value) for name, value in benign.items())


def cells(record: Record, found: dict[str, np.ndarray], benign: float) -> list[str]:
    """Format the largest difference of a column in points and standard errors, of the score and of benign values."""
    columns = evaluated_columns(record.spec.evaluation)
    unequal = np.mean([np.abs(found[name]) > EQUAL for name in columns])
    points = np.stack([column.scale * column.ers_slope * found[name] for name, column in columns.items()])
    count = points.shape[1]
    means, errors = np.abs(points.mean(1)), points.std(1) / count**0.5
    rng = np.random.default_rng(0)
    parts = [np.abs(points[:, rng.permutation(count)[:PART]].mean(1)).max() for _ in range(PARTS)]
    return [
        str(count),
        f"{100 * unequal:.1f} %",
        f"{means.max():.2g}",
        f"{(means / np.where(errors > 0, errors, 1)).max():.1f}",
        f"{max(parts):.2g}",
        f"{abs(points.mean()):.2g}",
        f"{benign:.2g}",
    ]


def rows(folder: Path) -> Iterator[list[str]]:
    """Return a line for each record and each other evaluation."""
    for run in record_folders(folder):
        record = read_record(run)
        if not (run / CHECKPOINT_FILE).exists():
            continue
        dataset = load_dataset(record.spec.dataset, DataPaths())
        for other in OTHERS:
            yield [record.spec.label, other.name, *cells(record, *gaps(run, record, dataset, other))]


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(
        "# What an evaluation's values depend on\n\nMade by `python benchmarks/tolerances.py RUNS`.\n\n"
        "Recorded minus found, in points of 0 to 100. *Rounding*: every weight times 1 + 1e-6 N(0, 1). *Other "
        "kernels*: PyTorch without oneDNN. *bf16*: attack steps in half precision, which is another evaluation and a "
        "bound. *In standard errors*: of the mean of as many queries. *In parts*: the worst column in the worst of "
        f"{PARTS} parts of {PART} of these queries.\n{told(circumstances(CPU))}\n"
    )
    print(tabulate(list(rows(Path(sys.argv[1]))), COLUMNS, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
