"""What each process of a run on several devices does."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import torch

from robustbench_dml.runs import run as runs
from robustbench_dml.runs.context import RunContext
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils import distributed
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.progress import Progress

RANK, PROCESSES, RENDEZVOUS = "RBDML_RANK", "RBDML_PROCESSES", "RBDML_RENDEZVOUS"  # environment variables
LEFT_ALONE, INTERRUPTED = 3, 130  # exit codes: ended because another process did, and as asked to


def is_worker() -> bool:
    """Whether this process was started by `launch`."""
    return RANK in os.environ


def work(spec: RunSpec, place: RunContext, *, force: bool) -> NoReturn:
    """Do this process's part of a run, and end; arguments as in `runs.run`.

    Nothing is said here: `launch` says once what went wrong, whichever processes noticed.

    Raises:
        SystemExit: always; its code is 0, or 2 with a message for the user in `message_file`, or one of the above.
    """
    number, rendezvous = int(os.environ[RANK]), Path(os.environ[RENDEZVOUS])
    place = _own(place, number)
    try:
        with distributed.process_group(
            rendezvous, number=number, processes=int(os.environ[PROCESSES]), device=place.device
        ):
            _take_part(spec, place, force=force)
    except RbdmlError as error:
        message_file(rendezvous, number).write_text(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except RuntimeError as error:  # what torch raises where a connection is lost, and for much else
        if not distributed.is_lost_peer(error):
            raise
        sys.exit(LEFT_ALONE)
    sys.exit(0)


def message_file(rendezvous: Path, number: int) -> Path:
    """Where a process leaves its message for the user."""
    return rendezvous.with_name(f"message-{number}")


def _take_part(spec: RunSpec, place: RunContext, *, force: bool) -> None:
    if not distributed.is_leader():
        folder: Path | None = distributed.broadcast()
        if folder is not None:
            runs.assist(spec, place, folder)
    elif not runs.run(spec, place, force=force).fresh:
        distributed.broadcast(None)  # the others wait for a folder to work in, and there is nothing to do


def _own(place: RunContext, number: int) -> RunContext:
    if place.device.type == "cuda":
        place = replace(place, device=torch.device("cuda", number))
        torch.cuda.set_device(place.device)
    if number == 0:
        return place
    quiet = Progress(quiet=True)
    return replace(place, progress=quiet, paths=replace(place.paths, progress=quiet))
