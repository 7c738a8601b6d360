"""Dependence of NMI on the start of k-means, from checkpoints beside their records.

    python benchmarks/clusters.py RUNS > benchmarks/results/clusters.md

RUNS is a folder of run folders, each with `checkpoint.safetensors` and `record.json`; boards keep the records alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch
from measure import circumstances, told
from tabulate import tabulate

import robustbench_dml as rb
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.context import embed
from robustbench_dml.retrieval.metrics import class_clusters
from robustbench_dml.runs.record import read_record, record_folders

STARTS = 20
COLUMNS = ["data set", "defense", "weights of", "recorded", "least", "median", "most", "at the least error"]


def rows(folder: Path) -> Iterator[list[object]]:
    """Return a line for each checkpoint: NMI in per cent over the starts, and NMI of the tightest clusters."""
    seen: set[str] = set()  # one model may have records of several evaluations
    for run in record_folders(folder):
        checkpoint, record = run / "checkpoint.safetensors", read_record(run)
        if not checkpoint.exists() or record.provenance.weights in seen:
            continue
        seen.add(record.provenance.weights)
        test = load_dataset(record.spec.dataset, DataPaths()).test
        embeddings = embed(rb.load_model(checkpoint, device="cpu"), test, device=torch.device("cpu"))
        starts = [class_clusters(embeddings, test.labels, seed=seed) for seed in range(STARTS)]
        found = [100 * start.nmi(test.labels) for start in starts]
        tightest = found[min(range(STARTS), key=lambda index: starts[index].error)]
        values = [record.benign["NMI"], min(found), median(found), max(found), tightest]
        yield [record.spec.dataset, record.spec.label, f"`{run.name}`", *(f"{value:.1f}" for value in values)]


def main() -> None:
    """Print the table."""
    where = circumstances(torch.device("cpu"))
    print(
        "# NMI over the starts of k-means\n\nMade by `python benchmarks/clusters.py RUNS`.\n\n"
        f"{STARTS} starts on the embeddings of all test images; *recorded*: the one start of the record; *error*: the "
        "sum of squared distances to the centroids, which k-means makes small.\n"
        f"faiss {where['versions']['faiss-cpu']}; {told(where)}\n"
    )
    print(tabulate(list(rows(Path(sys.argv[1]))), COLUMNS, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
