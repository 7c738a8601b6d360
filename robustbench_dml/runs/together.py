"""A share of a run that several processes do together."""

from __future__ import annotations

from pathlib import Path

from robustbench_dml.runs import run as runs
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.pipeline import Outcome
from robustbench_dml.runs.task import Task
from robustbench_dml.utils import distributed


def take_part(task: Task, context: RunContext, member: distributed.Member) -> Outcome | None:
    """Do the share of a member.

    Returns:
        The record in the leading process, None in the others.
    """
    with distributed.process_group(member, context.device):
        if not distributed.is_leader():
            work: Path | None = distributed.broadcast()
            if work is not None:
                runs.assist(task.spec, context, work, checkpoint=task.checkpoint)
            distributed.broadcast()  # the record is written
            return None
        if task.checkpoint is None:
            outcome = runs.run(task.spec, context, force=task.force)
        else:
            outcome = runs.evaluate_as(task.spec, task.checkpoint, context, force=task.force)
        if not outcome.fresh:
            distributed.broadcast(None)  # the other processes wait for a work folder; None ends their wait
        distributed.broadcast(None)
        return outcome
