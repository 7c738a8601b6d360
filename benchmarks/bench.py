"""All speed measurements, one command: `make bench`, or some of them:

    python benchmarks/bench.py training retrieval --device cpu

Every case runs in a process of its own. Writes `results/speed-<device>.json` with every figure and its circumstances, a
table of each part beside it, and the curves of growth.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from measure import circumstances, run_cases, told
from tabulate import tabulate

from robustbench_dml.utils.device import pick_device

PARTS = ("steps", "training", "attacks", "retrieval", "loading", "growth")
RESULTS = Path(__file__).parent / "results"


def part(name: str) -> ModuleType:
    """Import the module of a part, which is slow."""
    return importlib.import_module(f"parts.{name}")


def one(case: str, device: torch.device) -> None:
    """Measure one case in this process and print the result."""
    name, _, rest = case.partition(":")
    print(json.dumps(part(name).CASES[rest](device)))


def measured(name: str, device: torch.device) -> dict[str, Any]:
    """Measure all cases of a part. Returns them with their circumstances."""
    module = part(name)
    found = run_cases(
        Path(__file__),
        [f"{name}:{case}" for case in module.CASES],
        device=device.type,
        rounds=module.ROUNDS,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return {**circumstances(device), "cases": {case.partition(":")[2]: value for case, value in found.items()}}


def text(name: str, record: dict[str, Any]) -> str:
    """Format the table of a part, with its circumstances."""
    module = part(name)
    rows = module.rows(record["cases"])
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    title = (module.__doc__ or "").split("\n\n", maxsplit=1)[0]
    return f"## {title}\n\n{told(record)}\n\n{tabulate(cells, columns, tablefmt='github', disable_numparse=True)}\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the curves of growth, each beside proportional growth."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", context="paper")
    curves = part("growth").curves(record["cases"])
    groups = {
        "images in a batch": ["batch"],
        "eta": ["eta"],
        "side of an image": ["side"],
        "items in the gallery": [name for name in curves if name not in ("batch", "eta", "side")],
    }
    figure, axes = plt.subplots(1, len(groups), figsize=(13, 3.4), layout="constrained")
    for axis, (label, names) in zip(axes, groups.items(), strict=True):
        for name in names:
            sizes, seconds = list(curves[name]), [1000 * each for each in curves[name].values()]
            (line,) = axis.loglog(sizes, seconds, marker="o", label=name if len(names) > 1 else "measured")
            power = 2 if label.startswith("side") else 1
            expected = [seconds[-1] * (size / sizes[-1]) ** power for size in sizes]
            axis.loglog(sizes, expected, ":", color=line.get_color(), label=None if len(names) > 1 else "in proportion")
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axis.set_xticks([], minor=True)
        axis.set_xlabel(label)
        axis.legend()
    axes[0].set_ylabel("ms")
    figure.suptitle(f"How cost grows. {told(record)}", fontsize=8)
    for kind in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{kind}"), dpi=150)
    plt.close(figure)


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tables", action="store_true", help="measure nothing: tables and curves of what is known")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = pick_device(options.device)
    if options.case:
        one(options.case, device)
        return
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part '{min(unknown)}': give some of {', '.join(PARTS)}")

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"speed-{device.type}.json"
    records: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    for name in () if options.tables else options.parts or PARTS:
        records[name] = measured(name, device)
        path.write_text(json.dumps(records, indent=1) + "\n")
        print(text(name, records[name]))
    tables = [text(name, records[name]) for name in PARTS if name in records]
    path.with_suffix(".md").write_text("\n".join(["# Speed, made by `make bench`\n", *tables]))
    if "growth" in records:
        draw(records["growth"], options.out / f"growth-{device.type}")


if __name__ == "__main__":
    main()
