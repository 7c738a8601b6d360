"""Names of defenses and attacks as users write them: registered, in the papers' notation, or in a file."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from robustbench_dml.spec.registry import ATTACKS, DEFENSES, NOTATIONS, DefenseInfo, register_defense
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.terminal import one_line

FILE_MODULE = "rbdml_file_"  # prefix of the module name of a user's file
FOLDERS: list[str] = []  # folders of users' files, on the path of imports, the newest first

WITH_SAMPLER = re.compile(r"([A-Za-z-]+)\[([A-Z])\]")  # ACT[S], EST[R]
IN_A_FILE = re.compile(r"(.+\.py):([^:/\\]+)")


def find_defense(text: str) -> tuple[DefenseInfo, dict[str, Any]]:
    """Find the entry of a defense and the parameters that its name sets.

    Args:
        text: a registered name; `HM[S,g_LGA]&ICS(0.5)`, `ACT[S]` as in the papers; or `path/to/file.py:NAME` for
            the defense that the file registers under NAME.

    Raises:
        RbdmlError: none of these, or the file cannot be loaded.
    """
    in_file = IN_A_FILE.fullmatch(text)
    if in_file:
        load_module(Path(in_file[1]))
        return DEFENSES.get(in_file[2]), {}
    if text.endswith(".py"):
        raise RbdmlError(f"'{text}' names a file but no defense in it: write {text}:NAME")
    if "[" not in text:
        return DEFENSES.get(text), {}
    list(DEFENSES)  # defenses register their notations when they are imported
    for notation in NOTATIONS:
        read = notation(text)
        if read is not None:
            return DEFENSES.get(read[0]), dict(read[1])
    plain = WITH_SAMPLER.fullmatch(text.replace(" ", ""))
    if plain is None:
        raise RbdmlError(f"cannot read defense '{text}': write it like HM[S,g_LGA]&ICS(0.5) or ACT[S], or by its name")
    return DEFENSES.get(plain[1].lower()), {"sampler": plain[2]}


def defense_of(cls: type[Any]) -> str:
    """Return the name of a defense's class; a class without a registration is registered under its own name.

    Raises:
        RbdmlError: not a class of a defense, or its name is taken.
    """
    if not isinstance(cls, type) or not hasattr(cls, "takes_losses"):
        raise RbdmlError(f"{cls!r} is no defense: give a name, or a subclass of robustbench_dml.Defense")
    named = [info for info in DEFENSES if info.cls is cls]
    if not named:
        summary = (cls.__doc__ or cls.__name__).strip().split("\n")[0]
        register_defense(cls.__name__, summary=summary, paper="user code")(cls)
    return named[0].name if named else cls.__name__


def find_attack(text: str) -> str:
    """Find the name of an attack from a registered name or `path/to/file.py:NAME`.

    Raises:
        RbdmlError: neither, or the file cannot be loaded.
    """
    in_file = IN_A_FILE.fullmatch(text)
    if in_file:
        load_module(Path(in_file[1]))
    return ATTACKS.get(in_file[2] if in_file else text).name


def load_module(path: Path) -> ModuleType:
    """Import a Python file once. It can import its neighbours.

    Raises:
        RbdmlError: there is no such file, or it fails.
    """
    try:
        module_name, exists = f"{FILE_MODULE}{path.resolve()}", path.is_file()
    except (OSError, ValueError, RuntimeError):  # an impossible name, or links in a circle
        module_name, exists = "", False
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path) if exists else None
    if spec is None or spec.loader is None:
        raise RbdmlError(f"{path}: no such Python file: give path/to/file.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        _see_neighbours(path.resolve().parent)
        spec.loader.exec_module(module)
    except RbdmlError:
        del sys.modules[module_name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise RbdmlError(f"{path}: cannot be loaded: {failure(error, path)}: mend the file") from error
    return module


def _see_neighbours(folder: Path) -> None:
    """Put a folder behind the installed packages, and forget modules of the same names from other users' folders."""
    here, names = str(folder), {path.stem for path in folder.iterdir()}
    others = tuple(other + os.sep for other in FOLDERS if other != here)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in names and str(getattr(module, "__file__", "")).startswith(others):
            del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if entry not in FOLDERS]
    FOLDERS[:] = [here, *(other for other in FOLDERS if other != here)]
    sys.path += FOLDERS


def failure(error: BaseException, path: Path) -> str:
    """Describe a failure in a user's file in one short line, with the last line of the file that it passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    if isinstance(error, SyntaxError):
        lines = [error.lineno]
    return type(error).__name__ + (f" at line {lines[-1]}" if lines else "") + f": {one_line(str(error))[:200]}"
