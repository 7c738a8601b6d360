"""Python that a submission brings: nothing of it runs before its hash is right and somebody has said that it may."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from robustbench_dml.runs.external import ExternalModel, load_external
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.lookup import IN_A_FILE, load_module
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import ExternalSpec, RunSpec
from robustbench_dml.spec.source import defense_source, source_hash
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

MODULE = re.compile(r"[a-z][a-z0-9_]{0,60}\.py")
MAX_BYTES = 1_000_000  # of a Python file


def trusted_defense(text: str, records: Sequence[Record], *, trust: bool) -> Path:
    """Register the defense of a file from outside of the project, once it is known to be the records' and trusted.

    Args:
        text: path/to/file.py:NAME.
        records: of the submission.
        trust: whether to run it.

    Raises:
        RbdmlError: no such file, not that of the records, not trusted, or it does not register NAME.
    """
    path, name = _plain_file(text, "--defense")
    claimed = {
        record.provenance.defense_source
        for record in records
        if isinstance(record.spec, RunSpec) and record.spec.defense == name
    }
    if not claimed:
        raise RbdmlError(f"--defense: no record here is of '{name}': name the defense as the records do")
    own = source_hash([path])
    if claimed != {own}:
        raise RbdmlError(
            f"{path}: not the source that the records were made with (source hash {own[:16]}, theirs "
            f"{', '.join(sorted(one[:16] for one in claimed))}): give that file, or run again"
        )
    _ask(path, trust=trust)
    if name not in DEFENSES or defense_source(DEFENSES.get(name)) != own:
        load_module(path)
    DEFENSES.get(name)
    return path


def trusted_model(text: str, spec: ExternalSpec, checkpoint: Path, *, trust: bool) -> ExternalModel:
    """The model of a file from outside of the project, once both are known to be the record's and it is trusted.

    Args:
        text: path/to/file.py:factory.
        spec: of the record.
        checkpoint: its state dict.
        trust: whether to run it.

    Raises:
        RbdmlError: no such file, not that of the record, not trusted, or other weights.
    """
    path, factory = _plain_file(text, "--model")
    if f"{path.name}:{factory}" != spec.model:
        raise RbdmlError(f"--model: the record is of {spec.model}: give the file and the factory of that name")
    own = sha256(path)
    if own != spec.source:
        raise RbdmlError(
            f"{path}: not the file that the record was made with (SHA-256 {own[:16]}, its {spec.source[:16]}): give "
            "that one, or evaluate again"
        )
    _ask(path, trust=trust)
    foreign = load_external(text, checkpoint)
    if foreign.weights != spec.weights:
        raise RbdmlError(f"{checkpoint}: not the weights of the record ({spec.weights[:16]}): give those")
    return foreign


def check_discoverable(path: Path) -> None:
    """Refuse a file that would not be found among the defenses under its own name.

    Raises:
        RbdmlError: as said.
    """
    if not MODULE.fullmatch(path.name):
        raise RbdmlError(
            f"{path}: is to be kept in defenses/, where names are like my_defense.py: rename it, run again"
        )


def _plain_file(text: str, option: str) -> tuple[Path, str]:
    match = IN_A_FILE.fullmatch(text)
    if match is None:
        raise RbdmlError(f"{option} {text}: write path/to/file.py:NAME")
    path = Path(match[1])
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise RbdmlError(f"{path}: no Python file of at most {MAX_BYTES} bytes: give path/to/file.py:NAME")
    return path, match[2]


def _ask(path: Path, *, trust: bool) -> None:
    if not trust:  # the bytes are named, because a reader vouches for these and not for a syntax tree
        raise RbdmlError(
            f"{path} (SHA-256 {sha256(path)}) is Python that this project does not know, and it would run with your "
            "rights: read it, then give --trust-code"
        )
