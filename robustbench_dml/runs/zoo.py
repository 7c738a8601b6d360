"""Files and index of a zoo, from runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from robustbench_dml.models.zoo import INDEX, SUFFIX, ZooModel, read_index
from robustbench_dml.runs.record import CHECKPOINT_FILE, Record, read_record, record_folders
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.spec.weights import read_checkpoint
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256, write_atomically, write_if_changed
from robustbench_dml.utils.tensors import read_tensors, tensors_hash, write_tensors

Precision = Literal["fp32", "bf16"]


def build_zoo(
    folder: Path, runs: Path, *, precision: Precision = "fp32", address: str | None = None
) -> tuple[ZooModel, ...]:
    """Write the checkpoints of runs and their index to a folder, for a host. Models that are there stay.

    Args:
        folder: the folder to write.
        runs: a folder of runs; those without a checkpoint are left out.
        precision: bf16 rounds the weights and halves the files.
        address: future address of the folder, for the index.

    Returns:
        The models of these runs.

    Raises:
        RbdmlError: no run has a checkpoint, a checkpoint is not that of its record, or no space to write.
    """
    found = [path for path in record_folders(runs) if (path / CHECKPOINT_FILE).is_file()]
    index, models = read_index(folder), list[ZooModel]()
    try:
        for path in found:
            record = read_record(path)
            if not record.spec.trained_here:
                continue
            name = zoo_name(record, (*index.models, *models))
            file = folder / f"{name}{SUFFIX}"
            _write(file, record, path / CHECKPOINT_FILE, precision)
            url = None if address is None else f"{address.rstrip('/')}/{name}{SUFFIX}"
            models.append(zoo_model(record, file, name, precision=precision, url=url))
        write_if_changed(folder / INDEX, index.with_models(models).text.encode())
    except OSError as error:
        raise RbdmlError(f"cannot write to {folder} ({error.strerror}): free some space or get permission") from None
    if not models:
        raise RbdmlError(f"{runs}: no run with a checkpoint in it or below: give a folder of `rbdml run`")
    return tuple(models)


def zoo_model(record: Record, file: Path, name: str, **further: str | None) -> ZooModel:
    """Describe the file of a model for an index; `further` are its precision and url."""
    return ZooModel(
        name=name,
        entry=record.digest,
        weights=record.provenance.weights,
        sha256=sha256(file),
        bytes=file.stat().st_size,
        **further,  # type: ignore[arg-type]
    )


def zoo_name(record: Record, others: Iterable[ZooModel]) -> str:
    """Return the name of a run's model: data set, defense, backbone and loss unless usual, eta if it attacks, seed.

    The digest follows if another of the models has this name.
    """
    spec = record.spec
    assert isinstance(spec, RunSpec) and record.cost is not None
    parts = [
        spec.defense,
        *([spec.backbone] if spec.backbone != DATASETS.get(spec.dataset).backbone else []),
        *([spec.training.loss.name] if spec.training.loss else []),
        *([f"eta{spec.training.threat.steps}"] if record.cost.nominal_per_iteration > 1 else []),
        f"seed{spec.seed}",
    ]
    name = f"{spec.dataset_folder}/" + re.sub(r"[^\w.+-]+", "-", "-".join(parts)).lower()
    taken = any(model.name == name and model.entry != record.digest for model in others)
    return f"{name}-{record.digest[:8]}" if taken else name


def _write(path: Path, record: Record, checkpoint: Path, precision: Precision) -> None:
    """Write the file of a model."""
    if tensors_hash(read_checkpoint(checkpoint).weights) != record.provenance.weights:
        raise RbdmlError(f"{checkpoint}: not the checkpoint of its record: remove it, or run again with --force")
    path.parent.mkdir(parents=True, exist_ok=True)
    if precision == "bf16":
        tensors, text = read_tensors(checkpoint)
        rounded = {name: value.bfloat16() if value.is_floating_point() else value for name, value in tensors.items()}
        write_tensors(path, rounded, text)
    else:
        with checkpoint.open("rb") as source:
            write_atomically(path, lambda target: shutil.copyfileobj(source, target))
