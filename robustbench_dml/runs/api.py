"""The functions of `import robustbench_dml`, also behind the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustbench_dml.datasets.held import hold
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.evaluate import Evaluated, evaluate_model
from robustbench_dml.models.checkpoints import Checkpoint, load_checkpoint, weights_hash
from robustbench_dml.models.pretrained import first_weights
from robustbench_dml.models.wrappers import left_as_they_were
from robustbench_dml.models.zoo import ZooModel, located, zoo_models
from robustbench_dml.runs.context import RunContext, run_context
from robustbench_dml.runs.external import on_sphere
from robustbench_dml.runs.launch import run_on_devices
from robustbench_dml.runs.on_device import evaluation_on, spec_on
from robustbench_dml.runs.record import RECORD_FILE, Record, read_record, record_folders
from robustbench_dml.runs.run import run as run_spec
from robustbench_dml.runs.together import joined
from robustbench_dml.runs.trial import in_eval_mode
from robustbench_dml.spec.lookup import defense_of
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.options import CALL, CONTEXT, EVALUATE, OPTIONS, TABLES, arguments_of, words_named
from robustbench_dml.spec.published import BUDGETS, PROTOCOLS
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
    Info,
    SolverInfo,
)
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.training.defense import Defense
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.device import pick_device
from robustbench_dml.utils.distributed import launched
from robustbench_dml.utils.errors import RbdmlError


def run(
    defense: str | type[Defense], dataset: Any, *, force: bool = False, quiet: bool = False, **words: Any
) -> Record:
    """Train a defense under a budget, evaluate it, write its record, and return it.

    A run with a record in `out` is not repeated unless `force`. An interrupted run is resumed.

    Args:
        defense: name of a defense, or its class, which may be defined in a notebook: running its cell again replaces
            it.
        dataset: name of a data set; or images in memory as in `datasets.held.hold`: a torch `Dataset`, divided by its
            classes, or a pair of them for training and test.
        force: repeat a recorded run.
        quiet: no progress bars.
        words: the options of `rbdml run`, with underscores: `eta=8`, `queries=500`, `attack_steps=32`, `out="runs"`,
            `devices=2`, `param={"ics": 0.3}`, `extra_attack=["ca+w2"]`, `solver="apgd"`,
            `solver_param={"restarts": 5}`. Options left out use the published values for the data set. The tables
            `params`, `training` and `evaluation` of `spec.make.make_spec` are accepted, too.

    Raises:
        RbdmlError: bad input or a bad environment, in one line.
    """
    devices = words.pop("devices", None)
    spec, context = _prepared(defense, dataset, words, quiet)
    if devices in (None, 1) and launched() is None:
        outcome = run_spec(spec, context, force=force)
        return outcome.record.stored_in(outcome.folder)
    if not (isinstance(defense, str) and isinstance(dataset, str)):
        raise RbdmlError("several processes know a defense or a data set by its name alone: give file.py:NAME")
    shared = run_on_devices(spec, context, devices, words={**words, "defense": defense}, force=force)
    folder = context.folder(spec).path
    return (read_record(folder) if shared is None else shared.record).stored_in(folder)


def train(defense: str | type[Defense], dataset: Any, *, quiet: bool = False, **words: Any) -> Checkpoint:
    """Train a defense without evaluating it; arguments as in `run`.

    Returns:
        The model in eval mode, its spec, and the cost of its training.
    """
    spec, context = _prepared(defense, dataset, words, quiet)
    data = load_dataset(spec.dataset, context.paths)
    weights = first_weights(spec, context.weights, context.progress)
    trainer = Trainer(spec, data, device=context.device, weights=weights)
    trainer.micro_batch = context.micro_batch
    trainer.run(progress=context.progress)
    trainer.model.eval()
    return trainer.trained


def evaluate(
    model: nn.Module,
    dataset: Any,
    labels: Any = None,
    *,
    surrogate: str | Path | nn.Module | None = None,
    quiet: bool = False,
    **words: Any,
) -> Evaluated:
    """Evaluate any module that embeds images in [0, 1]. It keeps its mode, its device and the settings of TF32.

    Processes that torchrun or srun started share the attacks, and each returns all values.

    Args:
        model: (B, C, H, W) float -> (B, D). Embeddings of other lengths than 1 are scaled to 1.
        dataset: name of a data set, whose test split is the gallery; or the gallery itself: images (N, C, H, W) with
            `labels`, or a torch `Dataset` such as an `ImageFolder` (see `datasets.held.split_of`).
        labels: (N,) whole numbers, the classes of images.
        surrogate: an undefended model that attacks transfer from: a checkpoint, or a module like `model`.
        quiet: no progress bars.
        words: the options of `rbdml evaluate`, with underscores: `queries=500`, `attack_steps=32`, `device="cpu"`.
            Options left out use the published values for the data set. `attack_` may be left out.

    Raises:
        RbdmlError: bad input, in one line.
    """
    former = {option.key: option.word for option in OPTIONS if option.part == EVALUATE}
    words = words_named({former.get(name, name): value for name, value in words.items()}, EVALUATE, CONTEXT)
    name = hold(dataset, labels)
    modules = (each for each in (model, surrogate) if isinstance(each, nn.Module))
    with joined(run_context(words, quiet=quiet)) as context, left_as_they_were(*modules):
        return _evaluated(model, name, surrogate, context, words)


def _evaluated(
    model: nn.Module, dataset: str, surrogate: str | Path | nn.Module | None, context: RunContext, words: dict[str, Any]
) -> Evaluated:
    named = None
    if isinstance(surrogate, nn.Module):
        named = weights_hash(surrogate)[:16]
    elif surrogate is not None:
        loaded = load_checkpoint(located(surrogate), device=context.device)
        surrogate, named = loaded.model, weights_hash(loaded.embedder)[:16]
    changes = {**arguments_of(words)[EVALUATE], "surrogate": named}
    data = load_dataset(dataset, context.paths)
    evaluation = evaluation_on(context.device, published_evaluation(dataset), changes, dataset=dataset, unset=True)
    return evaluate_model(
        on_sphere(in_eval_mode(model), data, context, evaluation.precision, name=type(model).__name__),
        data,
        evaluation,
        device=context.device,
        batch_size=context.batch_size,
        surrogate=surrogate,
        progress=context.progress,
    )


def _prepared(
    defense: str | type[Defense], dataset: Any, words: dict[str, Any], quiet: bool
) -> tuple[RunSpec, RunContext]:
    """The spec and the context of a run; tables of `make_spec` come before single words."""
    defense, dataset = defense if isinstance(defense, str) else defense_of(defense), hold(dataset, for_training=True)
    tables = {name: words.pop(name, None) or {} for name in TABLES}
    if "cache" in words:
        words["no_cache"] = not words.pop("cache")
    if "device" in words:
        words["device"] = str(words["device"])
    parts = {option.part for option in OPTIONS} - {CALL}
    words = words_named({**words, "defense": defense, "dataset": dataset}, *parts)
    words.setdefault("surrogate", tables[EVALUATE].get("surrogate"))
    context = run_context(words, quiet=quiet)
    arguments = arguments_of(words)
    for name in TABLES:
        arguments[name] = {**tables[name], **arguments[name]}
    return spec_on(context.device, arguments), context


def load_model(checkpoint: str | Path, *, device: str | torch.device = "auto") -> nn.Module:
    """Load the trained model of a checkpoint, in eval mode.

    Args:
        checkpoint: the folder of a run, its checkpoint.safetensors, or a name in the zoo, which is fetched:
            "glyphs/hm-lga-ics-eta8-seed0".
        device: the device of the model.

    Raises:
        RbdmlError: unreadable, not a checkpoint of this project, or not to be had.
    """
    return load_checkpoint(located(checkpoint), device=pick_device(device)).model


def load_record(path: str | Path) -> Record:
    """Read the record in the folder of a run, by its folder or its file.

    Raises:
        RbdmlError: there is none, or it is not valid.
    """
    folder = Path(path).parent if Path(path).name == RECORD_FILE else Path(path)
    return read_record(folder).stored_in(folder)


def load_records(folder: str | Path = "runs") -> list[Record]:
    """Read all records below a folder, sorted by path.

    Raises:
        RbdmlError: one of them is not valid.
    """
    return [read_record(path).stored_in(path) for path in record_folders(Path(folder))]


def list_models() -> list[ZooModel]:
    """List all models of the zoo, by name."""
    return list(zoo_models())


def list_protocols() -> list[Info]:
    """List all protocols with their summaries, by name."""
    return [Info(name=name, summary=one.summary, paper="") for name, one in sorted(PROTOCOLS.items())]


def list_budgets() -> list[Info]:
    """List all named budgets with their summaries, from the smallest."""
    return [Info(name=name, summary=summary, paper="") for name, (_, _, summary) in BUDGETS.items()]


def list_defenses() -> list[DefenseInfo]:
    """List all registered defenses, by name."""
    return list(DEFENSES)


def list_attacks() -> list[AttackInfo]:
    """List all registered attacks, by name."""
    return list(ATTACKS)


def list_solvers() -> list[SolverInfo]:
    """List all registered solvers, by name."""
    return list(SOLVERS)


def list_datasets() -> list[DatasetInfo]:
    """List all registered data sets, by name."""
    return list(DATASETS)


def list_backbones() -> list[BackboneInfo]:
    """List all registered backbones, by name."""
    return list(BACKBONES)
