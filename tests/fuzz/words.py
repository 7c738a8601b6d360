"""Targets that read a user's words: names, budgets, settings, sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fuzz.target import Target

from robustbench_dml.cli.options import Quotient, Setting
from robustbench_dml.report.names import paper_name, typeset
from robustbench_dml.report.published import read_published
from robustbench_dml.runs.command import command_for
from robustbench_dml.runs.sweeps.plan import plan
from robustbench_dml.spec.budgets import parse_budget, parse_seconds
from robustbench_dml.spec.lookup import find_defense
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.parameters import resolve_params
from robustbench_dml.spec.registry import DATASETS

OPTIONS: dict[str, Any] = {
    "budget": str,
    "seed": int,
    "eta": int,
    "eps": Quotient(),
    "alpha": Quotient(),
    "pairs": int,
    "lr": float,
    "weight_decay": float,
}
EVALUATION: dict[str, Any] = {
    "attack_eps": Quotient(),
    "attack_steps": int,
    "protocol": str,
    "solver": str,
    "queries": int,
}
SWEEP = b"""\
defense = ["hm-lga-ics", "HM[S,M]"]
dataset = "glyphs-mini"
seed = [0, 1]
eps = "8/255"
exclude = [{ seed = 1 }]
param = { ics = [0.5, 1] }
[[runs]]
eta = [2, 8]
"""
ROW = b"""\
dataset,backbone,defense,eta,collapsed,r_at_1,r_at_2,map,nmi,ca_plus,ca_minus,qa_plus,qa_minus,tma,es_d,es_r,ltm,gtm,gtt,ers,source,commit,date
cub,rn18,ACT[R],8,0,1,2,3,4,5,6,7,8,0.5,0.1,1,2,3,4,5,somewhere,,2022-03
"""
SETTINGS = (
    b"defense=HM[S,g_LGA]&ICS(0.5)\nbudget=20k\neps=8/255\nparam:ics=0.25\nsolver-param:restarts=2\nattack_steps=3\n"
)


def _defense(data: bytes, folder: Path) -> None:
    entry, named = find_defense(data.decode(errors="replace"))
    typeset(paper_name(entry.name, resolve_params(entry, named), "sop"))


def _budget(data: bytes, folder: Path) -> None:
    parse_budget(data.decode(errors="replace"), DATASETS.get("glyphs-mini"))


def _seconds(data: bytes, folder: Path) -> None:
    assert parse_seconds(data.decode(errors="replace")) < float("inf")


def _settings(data: bytes, folder: Path) -> None:
    """Read lines of option=value as the command line reads options."""
    given: dict[str, dict[str, object]] = {"": {}, "params": {}, "training": {}, "evaluation": {}, "solver_params": {}}
    for line in data.decode(errors="replace").splitlines():
        name, text = Setting().convert(line, None, None)
        kind, _, rest = name.partition(":")
        if rest and kind in ("param", "solver-param"):
            given["params" if kind == "param" else "solver_params"][rest] = text
        elif name in ("defense", "dataset", "budget", "seed", "backbone"):
            given[""][name] = _typed(name, text)
        elif name in OPTIONS:
            given["training"][name] = _typed(name, text)
        elif name in EVALUATION:
            given["evaluation"][name.removeprefix("attack_")] = _typed(name, text)
    evaluation = {
        **given["evaluation"],
        **({"solver_params": given["solver_params"]} if given["solver_params"] else {}),
    }
    words = {"defense": "regular", "dataset": "glyphs-mini", **given[""]}
    spec = make_spec(**words, params=given["params"], training=given["training"], evaluation=evaluation)  # type: ignore[arg-type]
    command_for(spec)


def _typed(name: str, text: str) -> object:
    """Convert a value as click does; refused values are left out."""
    kind = {**OPTIONS, **EVALUATION}.get(name, str)
    if isinstance(kind, Quotient):
        return kind.convert(text, None, None)
    try:
        return kind(text)
    except ValueError:
        return None


def _sweep(data: bytes, folder: Path) -> None:
    (folder / "matrix.toml").write_bytes(data)
    for job in plan(folder / "matrix.toml").jobs[:3]:
        assert job.command


def _published(data: bytes, folder: Path) -> None:
    (folder / "published.csv").write_bytes(data)
    read_published(folder / "published.csv")


def targets() -> list[Target]:
    """All of them."""
    names = (b"HM[S,g_LGA]&ICS(0.5)", b"ACT[S]", b"HM[R,-gamma/2]", b"HM[S,g_B(M)]&ICS", b"hm-lga-ics", b"x.py:y")
    return [
        Target("defense", _defense, names),
        Target("budget", _budget, (b"20M", b"10min", b"1.5e6", b"quick", b"2 h")),
        Target("seconds", _seconds, (b"90s", b"5min", b"2.5h")),
        Target("settings", _settings, (SETTINGS,)),
        Target("sweep", _sweep, (SWEEP,)),
        Target("published", _published, (ROW,)),
    ]
