"""Protocol `radius` on several models, and AutoRank at fixed radii on the same queries.

    python benchmarks/radius.py pixels untrained act=CHECKPOINT --surrogate CHECKPOINT --autorank 4 8

Each measurement is written to a JSON file of its own as soon as it is done and is not repeated. The table counts, query
by query, how often one of the two breaks at a radius a query that the other leaves intact.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_dml.datasets.base import DataPaths, Dataset
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.evaluate import attacked_values, choose_queries, context_for
from robustbench_dml.models.checkpoints import load_checkpoint
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.spec.make import changed_evaluation, published_evaluation
from robustbench_dml.spec.parameters import build_defense
from robustbench_dml.spec.protocols import evaluated_columns
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DATASETS
from robustbench_dml.spec.schema import Evaluation, Threat
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.utils.statistics import median_above_zero

CPU = torch.device("cpu")
UNIT = 1 / 255
BARE = 512  # passes that are timed alone
SIDES = {"MR:Q": ("worst-query", "AR:Q"), "MR:C": ("worst-candidate", "AR:C1")}


def model_named(text: str, data: Dataset) -> tuple[str, nn.Module]:
    """A baseline by its name, or name=checkpoint."""
    name, _, checkpoint = text.partition("=")
    if name in ("pixels", "untrained"):
        network = build_embedder(BACKBONES.get(DATASETS.get(data.name).backbone), seed=0, device=CPU)
        return name, build_defense(name, {}, Threat(eps=0, alpha=0, steps=0)).deploy(network).eval()
    return name, load_checkpoint(Path(checkpoint), device=CPU).model


def measured(model: nn.Module, data: Dataset, evaluation: Evaluation, surrogate: nn.Module | None) -> dict[str, Any]:
    """All columns per query of an evaluation, and its cost in passes and processor seconds."""
    context = context_for(model, data, evaluation, device=CPU, surrogate=surrogate)
    rows = choose_queries(data.test.labels, evaluation, data.name)
    block = context.block(ATTACKS.get("ranking-margin").build(), "ranking-margin", Items(context.gallery, rows))
    start = time.process_time()
    with PropagationMeter(context.model) as meter:
        found = attacked_values(context, rows)
    return {
        "R@1": float(block.recall_at_1(block.benign).mean()),
        "per_query": {name: values.tolist() for name, values in found.items()},
        "passes": (meter.to_input + meter.forward_only / 3) / len(rows),
        "seconds": (time.process_time() - start) / len(rows),
        "bare": bare_seconds(context),
    }


def bare_seconds(context: AttackContext) -> float:
    """Processor seconds of one pass of the network alone, forward and backward to the input, in batches of 128."""
    images = context.split.batch(torch.arange(128))
    start = time.process_time()
    for _ in range(BARE // 128):
        moved = images.clone().requires_grad_()
        context.model(moved).sum().backward()
    return (time.process_time() - start) / BARE


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read a measurement from its file, or make and write it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measure()) + "\n")
    return dict(json.loads(path.read_text()))


def row(name: str, found: dict[str, Any], evaluation: Evaluation) -> str:
    """One model in the table of radii."""
    cells = [f"{100 * found['R@1']:.1f}"]
    for column, info in evaluated_columns(evaluation).items():
        values = torch.tensor(found["per_query"][column], dtype=torch.float64)
        middle = float(median_above_zero(values.numpy())[0]) if info.median else float(values.mean())
        cells.append(f"{info.published(middle):.2f}")
    ratio = found["seconds"] / (found["passes"] * found["bare"])
    return " | ".join(["", name, *cells, f"{found['passes']:.0f}", f"{ratio:.2f}", ""]).strip()


def disagreements(radius: dict[str, Any], autorank: dict[str, Any], at: float) -> list[str]:
    """Per side, items broken at a radius by AutoRank alone, by the radius search alone, and by AutoRank."""
    cells = []
    for column, (_, other) in SIDES.items():
        if other not in autorank["per_query"]:
            continue
        ours = torch.tensor(radius["per_query"][column]) <= at * UNIT * (1 + 1e-6)
        lost = 0.0 if column == "MR:Q" else 1.0  # recall that is left, or a candidate that is planted
        theirs = torch.tensor(autorank["per_query"][other]) == lost
        cells += [str(int((theirs & ~ours).sum())), str(int((ours & ~theirs).sum())), str(int(theirs.sum()))]
    return cells


def main() -> None:
    """Make the missing measurements and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", help="pixels, untrained or name=checkpoint")
    parser.add_argument("--surrogate", type=Path, help="an undefended model to transfer from; AutoRank needs one")
    parser.add_argument("--autorank", type=float, nargs="*", default=[], help="radii in 1/255")
    parser.add_argument("--param", action="append", default=[], help="name=value of the radius search; repeatable")
    parser.add_argument("--dataset", default="fashion")
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "radius")
    options = parser.parse_args()
    data = load_dataset(options.dataset, DataPaths())
    usual = published_evaluation(options.dataset)
    params = dict(pair.split("=") for pair in options.param)
    digits, surrogate = None, None
    if options.surrogate is not None:
        surrogate = load_checkpoint(options.surrogate, device=CPU).model
        digits = options.surrogate
    settings = {"protocol": "radius", "queries": options.queries, "solver_params": params, "surrogate": digits}
    evaluation = changed_evaluation(usual, settings, dataset=options.dataset)
    columns = ["model", "R@1", *evaluated_columns(evaluation), "passes", "seconds / bare"]
    radii, against = [], []
    for text in options.models:
        name, model = model_named(text, data)
        ending = "-".join([name, str(options.queries), *(f"{key}{value}" for key, value in sorted(params.items()))])
        found = kept(options.out / f"{ending}.json", partial(measured, model, data, evaluation, surrogate))
        radii.append(row(name, found, evaluation))
        for at in options.autorank:
            fixed = changed_evaluation(
                usual,
                {"protocol": "autorank", "queries": options.queries, "surrogate": digits, "eps": at * UNIT},
            )
            path = options.out / f"autorank-{name}-{options.queries}-{at:g}.json"
            other = kept(path, partial(measured, model, data, fixed, surrogate))
            cells = disagreements(found, other, at)
            against.append(" | ".join(["", name, f"{at:g}", *cells, f"{other['passes']:.0f}", ""]).strip())
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|\n" + "\n".join(radii))
    if against:
        sides = [f"{side}: {kind}" for side in SIDES for kind in ("AutoRank alone", "radius alone", "AutoRank")]
        heads = ["model", "radius", *sides, "AutoRank's passes"]
        print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n" + "\n".join(against))


if __name__ == "__main__":
    main()
