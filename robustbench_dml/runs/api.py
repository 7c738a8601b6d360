"""The functions that `import robustbench_dml` gives. The command line calls the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.evaluate import Evaluated, evaluate_model
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, weights_hash
from robustbench_dml.models.pretrained import first_weights
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.record import Record
from robustbench_dml.runs.run import run as run_spec
from robustbench_dml.spec.make import DEFAULT_BUDGET, changed_evaluation, make_spec, published_evaluation
from robustbench_dml.spec.registry import (
    ATTACKS,
    BACKBONES,
    DATASETS,
    DEFENSES,
    SOLVERS,
    AttackInfo,
    BackboneInfo,
    DatasetInfo,
    DefenseInfo,
    SolverInfo,
)
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.device import pick_device
from robustbench_dml.utils.precision import resolve_precision
from robustbench_dml.utils.progress import Progress


def run(
    defense: str,
    dataset: str,
    *,
    budget: str = DEFAULT_BUDGET,
    out: str | Path = "runs",
    device: str = "auto",
    batch_size: int = 128,
    force: bool = False,
    data_root: str | Path | None = None,
    download: bool = False,
    cache: bool = True,
    weights: str | Path | None = None,
    tensorboard: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> Record:
    """Train a defense under a budget, evaluate it, write its record, and return it.

    A run that has a record in `out` is not repeated unless `force`; an interrupted one goes on.

    Args:
        defense: name of a defense.
        dataset: name of a data set.
        budget: a name (`quick`, `standard`, `paper`, `schedule`), passes (`"20M"`), iterations (`"3750it"`) or a time
            (`"10min"`).
        out: folder of records.
        device: `auto`, `cpu` or `cuda`.
        batch_size: images attacked at once.
        force: repeat the run.
        data_root: a folder with data sets.
        download: whether a missing data set may be downloaded.
        cache: whether decoded images are kept on disk.
        weights: a file of weights to start from instead of the published ones.
        tensorboard: write scalars for TensorBoard beside the log of the run.
        quiet: no progress bars.
        settings: as `specs.make_spec` takes them: backbone, pretrained, seed, params, training, evaluation. In
            `evaluation`, `surrogate` is the path of a checkpoint. A precision can be `auto`: bf16 where the device has
            units for it.

    Raises:
        RbdmlError: bad input or a bad environment, in one line.
    """
    progress, file, here = Progress(quiet), None if weights is None else Path(weights), pick_device(device)
    evaluation = resolve_precision(settings.pop("evaluation", None), here)
    surrogate = None if evaluation.get("surrogate") is None else Path(evaluation["surrogate"])
    spec = make_spec(
        defense=defense,
        dataset=dataset,
        budget=str(budget),
        weights=file,
        evaluation={**evaluation, "surrogate": surrogate},
        training=resolve_precision(settings.pop("training", None), here),
        **settings,
    )
    paths = DataPaths(None if data_root is None else Path(data_root), download, cache, progress)
    place = RunContext(Path(out), paths, here, batch_size, progress, file, surrogate, tensorboard=tensorboard)
    return run_spec(spec, place, force=force).record


def train(
    defense: str,
    dataset: str,
    *,
    budget: str = DEFAULT_BUDGET,
    device: str = "auto",
    data_root: str | Path | None = None,
    weights: str | Path | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Checkpoint:
    """Train only: the model in eval mode, its spec and what was spent. Arguments as in `run`."""
    progress, file, here = Progress(quiet), None if weights is None else Path(weights), pick_device(device)
    training = resolve_precision(settings.pop("training", None), here)
    spec = make_spec(defense=defense, dataset=dataset, budget=budget, weights=file, training=training, **settings)
    data = load_dataset(dataset, DataPaths(None if data_root is None else Path(data_root), progress=progress))
    trainer = Trainer(spec, data, device=here, weights=first_weights(spec, file, progress))
    trainer.run(progress=progress)
    return Checkpoint(trainer.model.eval(), spec, trainer.spent, trainer.end)


def evaluate(
    model: nn.Module,
    dataset: str,
    *,
    device: str = "auto",
    batch_size: int = 128,
    data_root: str | Path | None = None,
    surrogate: str | Path | nn.Module | None = None,
    quiet: bool = False,
    **evaluation: Any,
) -> Evaluated:
    """Evaluate any module that maps images in [0, 1] to unit vectors.

    Args:
        model: (B, C, H, W) float -> (B, D).
        dataset: name of a data set; its test split is the gallery.
        device: `auto`, `cpu` or `cuda`.
        batch_size: images attacked at once.
        data_root: a folder with data sets.
        surrogate: an undefended model that attacks transfer from: a checkpoint, or a module like `model`.
        quiet: no progress bars.
        evaluation: any of protocol, norm, eps, alpha, steps, queries, seed, precision, solver, search, also, as in
            `specs.changed_evaluation`; by default the published settings.

    Raises:
        RbdmlError: bad input, in one line.
    """
    named, here = None, pick_device(device)
    if isinstance(surrogate, nn.Module):
        named = weights_hash(surrogate)[:16]
    elif surrogate is not None:
        loaded = load_checkpoint(Path(surrogate), device=here)
        surrogate, named = loaded.model, weights_hash(loaded.embedder)[:16]
    changes = {**resolve_precision(evaluation, here), "surrogate": named}
    settings = changed_evaluation(published_evaluation(dataset), changes)
    progress = Progress(quiet)
    data = load_dataset(dataset, DataPaths(None if data_root is None else Path(data_root), progress=progress))
    return evaluate_model(
        model,
        data,
        settings,
        device=here,
        batch_size=batch_size,
        surrogate=surrogate,
        progress=progress,
    )


def load_model(checkpoint: str | Path, *, device: str = "auto") -> nn.Module:
    """The trained model of a checkpoint, in eval mode.

    Raises:
        RbdmlError: unreadable, or not a checkpoint of this project.
    """
    return load_checkpoint(Path(checkpoint), device=pick_device(device)).model


def list_defenses() -> list[DefenseInfo]:
    """All registered defenses, by name."""
    return list(DEFENSES)


def list_attacks() -> list[AttackInfo]:
    """All registered attacks, by name."""
    return list(ATTACKS)


def list_solvers() -> list[SolverInfo]:
    """All registered solvers, by name."""
    return list(SOLVERS)


def list_datasets() -> list[DatasetInfo]:
    """All registered data sets, by name."""
    return list(DATASETS)


def list_backbones() -> list[BackboneInfo]:
    """All registered backbones, by name."""
    return list(BACKBONES)
