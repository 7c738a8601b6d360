"""A look at the hooks of a user's attack, before any query is attacked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from robustbench_dml.evaluation.attack import Attack
from robustbench_dml.evaluation.context import AttackContext
from robustbench_dml.evaluation.corrupted import Corrupted
from robustbench_dml.evaluation.ensemble import WorstCase
from robustbench_dml.evaluation.radius import RadiusAttack
from robustbench_dml.retrieval.gallery import Block, Items
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.utils.errors import RbdmlError, reason

PACKAGE = "robustbench_dml."
QUERIES = 4  # images of the trial


def check_hooks(context: AttackContext, name: str, queries: Tensor) -> None:
    """Call every hook of an attack from outside the project once.

    Raises:
        RbdmlError: a hook fails, or returns something else than the contract says.
    """
    attack = ATTACKS.get(name).build()
    if type(attack).__module__.startswith(PACKAGE) or isinstance(attack, WorstCase | RadiusAttack | Corrupted):
        return
    hook = partial(_called, name)
    items = Items(context.gallery, queries[:QUERIES].to(context.gallery.labels.device))
    block = hook("choose_targets", lambda: context.block(attack, name, items))
    _check_targets(name, block)
    moved = block.benign.clone().requires_grad_()
    with torch.enable_grad():
        values = hook("objective", lambda: attack.objective(moved, block))
    _expect(name, "objective", values, _is_row(values, block), f"a tensor of shape ({len(block)},)")
    searches = attack.own_solver is None or not attack.own_solver.black_box
    _expect(
        name, "objective", "values without gradient", values.requires_grad or not searches, "a function of embeddings"
    )
    _check_score(name, attack, hook("score", lambda: attack.score(block.benign, block)), block)


def _check_targets(name: str, block: Block) -> None:
    targets, count = block.targets, len(block.gallery)
    whole = isinstance(targets, Tensor) and targets.dtype == torch.int64 and targets.dim() == 2
    _expect(name, "choose_targets", targets, whole and len(targets) == len(block), f"({len(block)}, W) int64 rows")
    inside = not targets.numel() or (0 <= int(targets.min()) and int(targets.max()) < count)
    _expect(name, "choose_targets", "rows outside the gallery", inside, f"rows from 0 to {count - 1}")


def _check_score(name: str, attack: Attack, score: Any, block: Block) -> None:
    columns = [column.name for column in ATTACKS.get(name).columns]
    given = list(score) if isinstance(score, dict) else score
    _expect(name, "score", given, given == columns, f"a dict of the registered columns {columns}")
    for column, values in score.items():
        _expect(name, f"score of '{column}'", values, _is_row(values, block), f"a tensor of shape ({len(block)},)")
        finite = bool(values.isfinite().all())
        _expect(name, f"score of '{column}'", "values that are not finite", finite, "numbers")


def _is_row(values: Any, block: Block) -> bool:
    return isinstance(values, Tensor) and tuple(values.shape) == (len(block),)


def _expect(name: str, hook: str, got: Any, fits: bool, wanted: str) -> None:
    if not fits:
        shown = f"shape {tuple(got.shape)}, {got.dtype}" if isinstance(got, Tensor) else str(got)[:80]
        raise RbdmlError(f"attack '{name}': {hook} gives {shown}: let it return {wanted}")


def _called(name: str, hook: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except RbdmlError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        where = "" if frame is None else f" at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        raise RbdmlError(
            f"attack '{name}': {hook} fails{where} ({type(error).__name__}: {reason(error)}): mend the file"
        ) from None
