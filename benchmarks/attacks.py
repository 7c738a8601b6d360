"""How fast the attack suite is: against a straightforward loop, and against its own bare network passes.

    python benchmarks/attacks.py CHECKPOINT --dataset fashion --queries 128

All is measured in one run, on the same model and queries: the suite of protocol `ers` in fp32 and with attack steps
in bf16, the network passes that each needs and nothing else, and the loop of `benchmarks/loop.py` (its own
results are compared with the suite's). Writes a JSON record and a table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loop
import torch
from torch import Tensor, nn

from robustbench_dml import provenance
from robustbench_dml.api import pick_device
from robustbench_dml.arena import InBfloat16, InOwnPrecision, arena_of, embed
from robustbench_dml.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.datasets.base import Roots, Split
from robustbench_dml.evaluation import choose_queries, columns_of, protocol_columns, protocol_named
from robustbench_dml.gallery import Items
from robustbench_dml.protocol import Evaluation
from robustbench_dml.registry import ATTACKS
from robustbench_dml.runs import load_dataset
from robustbench_dml.scores import empirical_robustness_score
from robustbench_dml.specs import make_spec

Values = dict[str, list[float]]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


def suite(model: nn.Module, split: Split, evaluation: Evaluation, rows: Tensor, batch: int) -> Values:
    """The package's own way."""
    arena = arena_of(model, split, evaluation=evaluation, dataset="benchmark", device=rows.device)
    values: dict[str, list[float]] = {}
    for block in rows.split(batch):
        items = Items(arena.gallery, block)
        for name in protocol_named(evaluation.protocol).attacks:
            for column, found in ATTACKS.get(name).build().run(arena, name, items).items():
                values.setdefault(column, []).extend(found.tolist())
    return values


def bare(model: nn.Module, split: Split, evaluation: Evaluation, rows: Tensor, batch: int) -> None:
    """The passes that the suite needs: embed the gallery, step, embed what was attacked."""
    full = InOwnPrecision(model).eval()
    stepping = full if evaluation.precision == "fp32" else InBfloat16(full)
    embed(full, split, device=rows.device)
    for block in rows.split(batch):
        images = split.batch(block)
        for _ in protocol_named(evaluation.protocol).attacks:
            for _ in range(evaluation.threat.steps):
                moved = images.detach().requires_grad_()
                torch.autograd.grad(stepping(moved).sum(), moved)
            with torch.no_grad():
                full(images)


def looped(model: nn.Module, split: Split, evaluation: Evaluation, rows: Tensor, batch: int) -> Values:
    """The straightforward way, with the suite's own targets."""
    model = model.eval().to(memory_format=torch.contiguous_format)
    arena = arena_of(model, split, evaluation=evaluation, dataset="benchmark", device=rows.device)
    threat = evaluation.threat
    values: dict[str, list[float]] = {}
    for block in rows.split(batch):
        items = Items(arena.gallery, block)
        for name in protocol_named(evaluation.protocol).attacks:
            targets = arena.block(ATTACKS.get(name).build(), name, items).targets
            queries = [
                loop.Query(int(row), int(of[0]) if len(of) else -1, arena.gallery.embeddings, split.labels)
                for row, of in zip(block, targets, strict=True)
            ]
            found = loop.attack(
                model, split.batch(block), queries, name, eps=threat.eps, alpha=threat.alpha, steps=threat.steps
            )
            for column, each in found.items():
                values.setdefault(column, []).extend(each)
    return values


def published(values: Values) -> dict[str, float]:
    """Means in the units of the papers, and the score."""
    columns = protocol_columns("ers")
    means = {name: column.published(float(torch.tensor(values[name]).mean())) for name, column in columns.items()}
    return {**means, "ERS": float(empirical_robustness_score(means, columns.values()))}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--dataset", default="fashion")
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--repeat", type=int, default=3, help="of all but the loop; the fastest counts")
    parser.add_argument("--no-loop", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    device = pick_device(options.device)
    split = load_dataset(options.dataset, Roots(None)).test.to(device)
    spec = make_spec(
        defense="regular", dataset=options.dataset, pretrained=False, evaluation={"queries": options.queries}
    )
    rows = choose_queries(split.labels, spec.evaluation, options.dataset).to(device)

    def fresh() -> nn.Module:
        return load_checkpoint(options.checkpoint, device=device).model

    seconds: dict[str, float] = {}
    found: dict[str, dict[str, float]] = {}
    for precision in ("fp32", "bf16"):
        evaluation = spec.evaluation.model_copy(update={"precision": precision})
        arguments = (fresh(), split, evaluation, rows, options.queries)
        runs = [(timed(lambda: suite(*arguments)), timed(lambda: bare(*arguments))) for _ in range(options.repeat)]  # noqa: B023
        seconds[f"suite {precision}"] = min(run[0][0] for run in runs)
        seconds[f"bare {precision}"] = min(run[1][0] for run in runs)
        found[f"suite {precision}"] = published(runs[0][0][1])
    if not options.no_loop:
        seconds["loop fp32"], values = timed(lambda: looped(fresh(), split, spec.evaluation, rows, options.queries))
        found["loop fp32"] = published(values)

    commit, dirty = provenance.source_commit()
    record = {
        "what": "protocol ers, PGD-32, white-box",
        "dataset": options.dataset,
        "gallery": len(split),
        "queries": len(rows),
        "weights": weights_hash(load_checkpoint(options.checkpoint, device=device).embedder),
        "seconds": seconds,
        "values": found,
        "versions": provenance.versions(),
        "device": provenance.device_name(device),
        "cpu": provenance.cpu_name(),
        "threads": torch.get_num_threads(),
        "commit": commit,
        "dirty": dirty,
        "created": provenance.now(),
    }
    name = f"attacks-{options.dataset}-{device.type}"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.out / f"{name}.md").write_text(table(record))
    print(table(record))


def table(record: dict[str, Any]) -> str:
    """The record for a reader."""
    seconds, queries = record["seconds"], record["queries"]
    lines = [
        f"# Attack suite: {record['what']}, {record['dataset']}",
        "",
        f"{queries} queries against a gallery of {record['gallery']}, C2F2 weights {record['weights'][:8]}, seed 0; "
        f"{record['cpu']} / {record['device']}, {record['threads']} threads, torch {record['versions']['torch']}, "
        f"commit {(record['commit'] or 'unknown')[:7]}{' with changes' if record['dirty'] else ''}, "
        f"{record['created'][:10]}.",
        "",
        "| | seconds | ms a query | x bare passes | x faster than the loop |",
        "|---|---|---|---|---|",
    ]
    for name, value in seconds.items():
        passes = seconds[f"bare {name.split()[1]}"]
        faster = f"{seconds['loop fp32'] / value:.1f}" if "loop fp32" in seconds else "-"
        lines.append(f"| {name} | {value:.2f} | {1000 * value / queries:.1f} | {value / passes:.2f} | {faster} |")
    columns = [*columns_of(protocol_named("ers").attacks), "ERS"]
    lines += ["", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, values in record["values"].items():
        lines.append(f"| {name} | " + " | ".join(f"{values[column]:.4g}" for column in columns) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
