"""Where the leaderboards are."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.utils.errors import RbdmlError

NAME = "leaderboards"
CHECKOUT = Path(__file__).resolve().parents[2]


def find_leaderboards(given: Path | None = None) -> Path:
    """The folder of the leaderboards: the given one, else that of the current folder, else that of the checkout.

    Raises:
        RbdmlError: the given one is no folder, or none is given and there is neither.
    """
    if given is not None:
        if not given.is_dir():
            raise RbdmlError(f"{given}: no such folder: name that of the leaderboards with --boards")
        return given
    checkout = [CHECKOUT / NAME] if (CHECKOUT / "pyproject.toml").is_file() else []
    for folder in (Path(NAME), *checkout):
        if folder.is_dir():
            return folder
    raise RbdmlError(f"no folder '{NAME}' here: go into a checkout of the project, or name the folder with --boards")
