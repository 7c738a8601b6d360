"""Hashes of the source that a result depends on."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from robustbench_dml.spec.lookup import FILE_MODULE
from robustbench_dml.spec.protocols import attacks_of
from robustbench_dml.spec.registry import ATTACKS, SOLVERS, DefenseInfo
from robustbench_dml.spec.schema import Evaluation


def defense_source(info: DefenseInfo) -> str:
    """SHA-256 of the file that defines a defense, or of all files of its folder where it has one of its own."""
    path = Path(inspect.getfile(info.cls))
    alone = info.cls.__module__.startswith(FILE_MODULE)  # its path is in that name, dots and all
    own_folder = not alone and (path.parent / "__init__.py").is_file() and info.cls.__module__.count(".") > 2
    return source_hash(sorted(path.parent.glob("*.py")) if own_folder else [path])


def attack_source(evaluation: Evaluation) -> str:
    """SHA-256 of all code that decides what an evaluation finds: the package's, its attacks' and its solver's."""
    package = Path(__file__).parents[1]
    attacks = [ATTACKS.get(name).cls for name in attacks_of(evaluation)]
    own = {Path(inspect.getfile(cls)).resolve() for cls in (*attacks, SOLVERS.get(evaluation.solver.name).cls)}
    return source_hash([*sorted(package.rglob("*.py")), *sorted(own)])


def source_hash(files: Iterable[Path]) -> str:
    """SHA-256 of the names and the content of Python files."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
