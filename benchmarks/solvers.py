"""One model under every solver: each column, and AutoRank.

    python benchmarks/solvers.py regular=CHECKPOINT hm-lga-ics=CHECKPOINT --surrogate CHECKPOINT

Each evaluation is written to a JSON file of its own as soon as it is done and is not repeated, then all of them as
one table. AutoRank is compared with every other search query by query.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustbench_dml.runs import api
from robustbench_dml.spec.protocols import protocol_columns
from robustbench_dml.utils import provenance

QUICK = 16  # queries of NES, which asks the model 101 times for each step
SEARCHES: dict[str, dict[str, Any]] = {
    "PGD-32 (published)": {},
    "APGD-100 x 5": {"solver": "apgd", "steps": 100, "solver_params": {"restarts": 5}},
    "NES": {"solver": "nes", "queries": QUICK},
    "Square-1000": {"solver": "square"},
    "transfer of PGD-32": {"solver": "transfer"},
    "AutoRank": {"protocol": "autorank"},
}
RECALLS = ("ES:R", "LTM", "GTM")  # what AR:Q is never above
TRANSFERS = ("transfer of PGD-32", "AutoRank")


def evaluate(checkpoint: Path, search: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one evaluation. Returns the content of its file."""
    settings = {"queries": options.queries, **SEARCHES[search]}
    if search in TRANSFERS:
        settings["surrogate"] = options.surrogate
    model = api.load_model(checkpoint, device=options.device)
    start = time.perf_counter()
    found = api.evaluate(model, options.dataset, device=options.device, quiet=True, **settings)
    commit, dirty = provenance.source_commit()
    return {
        "seconds": time.perf_counter() - start,
        "queries": settings["queries"],
        "benign": found.benign,
        "attacked": found.attacked,
        "scores": found.scores,
        "flags": found.findings.flags,
        "measured": found.findings.measured,
        "per_query": {name: values.tolist() for name, values in found.per_query.items()},
        "commit": commit,
        "dirty": dirty,
        "versions": provenance.versions(),
        "cpu": provenance.cpu_name(),
    }


def weaker(results: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the queries where AutoRank is weaker than a single attack. There should be none."""
    worst = results["AutoRank"]["per_query"]
    row_of = {row: place for place, row in enumerate(worst["query"])}
    found = []
    for search, result in results.items():
        values = result["per_query"]
        for ours, columns in (("AR:Q", RECALLS), ("AR:C", ("CA+",))):
            for column in (name for name in columns if name in values):
                pairs = zip(values["query"], values[column], strict=True)
                lost = sum(worst[ours][row_of[row]] > value + 1e-12 for row, value in pairs)
                found += [f"{search} {column}: {lost} queries"] if lost else []
    return found


def table(name: str, results: Mapping[str, dict[str, Any]], dataset: str) -> str:
    """Format the results of one model."""
    first, columns = next(iter(results.values())), list(protocol_columns("ers"))
    commits = ", ".join(sorted({str(result["commit"])[:7] for result in results.values()}))
    lines = [
        f"## {name}",
        "",
        f"{dataset}, {first['queries']} queries (NES: {QUICK} of them), R@1 {first['benign']['R@1']:.1f} benign, "
        f"evaluation seed 0; commit {commits}, torch {first['versions']['torch']}, {first['cpu']}.",
        "",
        "| search | " + " | ".join(columns) + " | ERS | minutes |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for search, result in results.items():
        if search != "AutoRank":
            values = " | ".join(f"{result['attacked'][column]:.3g}" for column in columns)
            lines.append(f"| {search} | {values} | {result['scores']['ERS']:.1f} | {result['seconds'] / 60:.1f} |")
    if "AutoRank" in results:
        worst = results["AutoRank"]
        values = ", ".join(f"{column} {value:.3g}" for column, value in worst["attacked"].items())
        lines += ["", f"AutoRank: {values} ({worst['seconds'] / 60:.1f} minutes). "]
        lines[-1] += "Weaker than a single attack: " + ("; ".join(weaker(results)) or "on no query") + "."
    lines += ["", "Flags: " + (", ".join(first["flags"]) or "none") + "."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the missing evaluations and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", nargs="+", help="name=checkpoint")
    parser.add_argument("--surrogate", type=Path, required=True, help="an undefended model to transfer from")
    parser.add_argument("--dataset", default="fashion")
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    tables = []
    for name, _, checkpoint in (text.partition("=") for text in options.models):
        results = {}
        for search in SEARCHES:
            path = options.out / "solvers" / f"{options.dataset}-{name}-{search.split()[0].lower()}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(json.dumps(evaluate(Path(checkpoint), search, options), indent=None) + "\n")
            results[search] = json.loads(path.read_text())
        tables.append(table(name, results, options.dataset))
    text = "# Every column under every search\n\n" + "\n".join(tables)
    (options.out / "solvers.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
