"""Models from outside the project: a factory in a Python file, and weights, which are never unpickled freely."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from robustbench_dml.datasets.base import Dataset
from robustbench_dml.models import robrank
from robustbench_dml.models.checkpoints import weights_hash
from robustbench_dml.models.wrappers import OnSphere
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.on_device import evaluation_on
from robustbench_dml.runs.pipeline import ModelSource, Outcome, Pipeline, Subject
from robustbench_dml.runs.together import joined, lead_or_assist
from robustbench_dml.runs.trial import in_eval_mode, tried
from robustbench_dml.spec.lookup import IN_A_FILE, failure, load_module
from robustbench_dml.spec.make import published_evaluation
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, Precision
from robustbench_dml.utils.errors import RbdmlError, did_you_mean, reason
from robustbench_dml.utils.files import sha256
from robustbench_dml.utils.randomness import seed_of
from robustbench_dml.utils.tensors import read_state_dict, write_tensors

PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
UNIT = 1e-3  # largest deviation of an embedding's length from 1


@dataclass(frozen=True)
class ExternalModel:
    """A model from outside the project."""

    model: nn.Module  # the factory's model in eval mode, with the weights of its checkpoint
    path: Path  # the Python file
    name: str  # file.py:factory, without the folder
    source: str  # SHA-256 of the file
    weights: str  # hash of the weights

    def on_sphere(self, dataset: Dataset, context: RunContext, precision: Precision = "fp32") -> nn.Module:
        """See `on_sphere`."""
        words = partial(failure, path=self.path)
        return on_sphere(self.model, dataset, context, precision, name=self.name, failure=words)


def on_sphere(
    model: nn.Module,
    dataset: Dataset,
    context: RunContext,
    precision: Precision = "fp32",
    *,
    name: str,
    failure: Callable[[BaseException], str] = reason,
) -> nn.Module:
    """Return a model on the device after a trial on test images. Embeddings of other lengths are scaled to 1.

    Args:
        model: the model in eval mode.
        dataset: the data set.
        context: the device, and where messages go.
        precision: precision of the attacks, which is tried, too.
        name: name of the model in messages.
        failure: words for an exception of the model.

    Raises:
        RbdmlError: the model fails on these images, or returns anything but finite (B, D) embeddings.
    """
    model.to(context.device)
    embeddings = tried(model, dataset, context.device, precision, name=name, failure=failure)
    lengths = torch.linalg.vector_norm(embeddings, dim=1)
    if bool(((lengths - 1).abs() < UNIT).all()):
        return model
    context.progress.say(f"{name}: embeddings of length {float(lengths.mean()):.3g} are scaled to 1")
    return OnSphere(model).eval()


def load_external(text: str, checkpoint: Path | None = None) -> ExternalModel:
    """Make a model by its factory. Weights that stay random are the same each time.

    Args:
        text: path/to/file.py:factory, whose `factory()` returns a torch module; or robrank:NET.
        checkpoint: a state dict: safetensors or a torch file, alone or under a key in `tensors.NESTED`. Prefixes in
            `PREFIXES` are taken off its names.

    Raises:
        RbdmlError: no such file or factory, a factory that fails, or unreadable or unsuitable weights.
    """
    if text.startswith(robrank.PREFIX):
        return _of_robrank(text, checkpoint)
    in_file = IN_A_FILE.fullmatch(text)
    if in_file is None:
        raise RbdmlError(f"cannot read model '{text}': write path/to/file.py:factory, or robrank:NET")
    path, name = Path(in_file[1]), f"{Path(in_file[1]).name}:{in_file[2]}"
    model = _made(path, in_file[2], name)
    if checkpoint is not None:
        _fill(model, checkpoint, name)
    return ExternalModel(in_eval_mode(model), path, name, sha256(path), weights_hash(model))


def evaluate_external(
    text: str,
    checkpoint: Path | None,
    context: RunContext,
    *,
    dataset: str,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Outcome | None:
    """Evaluate a model from outside the project and record it, or return its record.

    Processes that torchrun or srun started share the attacks; None is returned in those that do not lead.

    Args:
        text: path/to/file.py:factory, as in `load_external`.
        checkpoint: a state dict, as in `load_external`.
        context: the surroundings of the evaluation.
        dataset: name of a data set; its test split is the gallery.
        changes: changes of the published evaluation, as in `spec.make.changed_evaluation`.
        force: repeat an evaluation that has a record.

    Raises:
        RbdmlError: bad input, in one line.
    """
    before = published_evaluation(dataset)
    evaluation = evaluation_on(context.device, before, changes or {}, dataset=dataset, unset=True)
    source = FromOutside(load_external(text, checkpoint), dataset, evaluation)
    with joined(context) as own:
        pipeline = Pipeline(source, own)
        return lead_or_assist(lambda: pipeline.run(force=force), pipeline.assist)


class FromOutside(ModelSource):
    """A model from outside the project."""

    def __init__(self, external: ExternalModel, dataset: str, evaluation: Evaluation) -> None:
        self.code, self.weights = external.source, external.weights
        self.spec = ExternalSpec(
            dataset=DATASETS.get(dataset).name,
            model=external.name,
            source=external.source,
            weights=external.weights,
            evaluation=evaluation,
        )
        self._external = external

    def prepare(self, dataset: Dataset, context: RunContext) -> None:
        """See `ModelSource`."""
        self._model = self._external.on_sphere(dataset, context, self.spec.evaluation.precision)

    def obtain(self, dataset: Dataset, context: RunContext, work: Path) -> Subject:
        """See `ModelSource`."""
        external = self._external
        save = partial(_save, model=external.model, name=external.name)
        return Subject(model=self._model, weights=external.weights, save=save)


def _made(path: Path, factory: str, name: str) -> nn.Module:
    module = load_module(path)
    make = getattr(module, factory, None)
    if not callable(make):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise RbdmlError(f"{path}: has no function '{factory}': {did_you_mean(factory, known)}give {path.name}:FACTORY")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(0, "weights", name))
            model = make()
    except (Exception, SystemExit) as error:
        raise RbdmlError(f"{name}() fails ({failure(error, path)}): mend the file") from None
    if not isinstance(model, nn.Module):
        raise RbdmlError(f"{name}() returns {type(model).__name__}: let it return a torch.nn.Module")
    if any(is_lazy(value) for value in chain(model.parameters(), model.buffers())):
        raise RbdmlError(f"{name}() has lazy layers, whose shape is open: embed an image in it once")
    if not all(isinstance(value, Tensor) for value in model.state_dict().values()):
        raise RbdmlError(f"{name}() keeps something else than tensors in its state_dict: leave that out of it")
    return model


def _of_robrank(text: str, checkpoint: Path | None) -> ExternalModel:
    """Build a network of robrank with the weights of a Lightning checkpoint. Its source is its name."""
    model = robrank.robrank_network(text.removeprefix(robrank.PREFIX))
    if checkpoint is None:
        raise RbdmlError(f"--model {text} has no weights: give a CHECKPOINT of robrank")
    _fill(model, checkpoint, text, only=robrank.WEIGHTS)
    source = hashlib.sha256(text.encode()).hexdigest()
    return ExternalModel(model.eval(), Path(robrank.__file__), text, source, weights_hash(model))


def _fill(model: nn.Module, checkpoint: Path, name: str, *, only: str = "") -> None:
    """Load a state dict, without the prefixes that wrappers put before its names.

    All of it is loaded and nothing else, except for names that do not begin with `only`.
    """
    found = {key: value for key, value in read_state_dict(checkpoint, nested=True).items() if key.startswith(only)}
    state = model.state_dict()  # knows the versions of its modules, which MNASNet asks for
    loaded = _unwrapped(found, set(state))
    state.clear()
    state.update(loaded)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:  # names all tensors that are missing, unknown or of another shape
        wrong = reason(error).partition(": ")[2]
        raise RbdmlError(f"{checkpoint}: does not fit {name}: {wrong}: give its own weights") from None


def _unwrapped(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Take prefixes off the names if they are the wanted names then; else return the state as it is."""
    plain = state
    while set(plain) != wanted:
        prefix = next((each for each in PREFIXES if plain and all(name.startswith(each) for name in plain)), None)
        if prefix is None:
            return state
        plain = {name.removeprefix(prefix): value for name, value in plain.items()}
    return plain


def _save(path: Path, *, model: nn.Module, name: str) -> None:
    """Write the evaluated weights for `--model`. Tied tensors become copies."""
    tensors = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    write_tensors(path, tensors, {"model": name})
