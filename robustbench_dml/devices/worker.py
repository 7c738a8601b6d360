"""What each process of a run on several devices does."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch

from robustbench_dml import runs
from robustbench_dml.devices import team
from robustbench_dml.progress import Progress
from robustbench_dml.protocol import RunSpec
from robustbench_dml.recording import Place

RANK, PROCESSES, RENDEZVOUS = "RBDML_RANK", "RBDML_PROCESSES", "RBDML_RENDEZVOUS"  # environment variables
LEFT_ALONE = 3  # exit code of a process that ended because another one did


def is_worker() -> bool:
    """Whether this process was started by `launch`."""
    return RANK in os.environ


def work(spec: RunSpec, place: Place, *, force: bool) -> None:
    """Do this process's part of a run; arguments as in `runs.run`.

    Raises:
        RbdmlError: as there.
        SystemExit: another process has ended, and told why.
    """
    number, processes = int(os.environ[RANK]), int(os.environ[PROCESSES])
    place = _own(place, number)
    try:
        with team.joined(Path(os.environ[RENDEZVOUS]), number=number, processes=processes, device=place.device):
            _take_part(spec, place, force=force)
    except RuntimeError as error:  # what torch raises where a connection is lost, and for much else
        if not team.is_lost(error):
            raise
        sys.exit(LEFT_ALONE)


def _take_part(spec: RunSpec, place: Place, *, force: bool) -> None:
    if not team.leads():
        folder: Path | None = team.from_leader()
        if folder is not None:
            runs.assist(spec, place, folder)
    elif not runs.run(spec, place, force=force).fresh:
        team.from_leader(None)  # the others wait for a folder to work in, and there is nothing to do


def _own(place: Place, number: int) -> Place:
    if place.device.type == "cuda":
        place = replace(place, device=torch.device("cuda", number))
        torch.cuda.set_device(place.device)
    if number == 0:
        return place
    quiet = Progress(quiet=True)
    return replace(place, progress=quiet, roots=replace(place.roots, progress=quiet))
