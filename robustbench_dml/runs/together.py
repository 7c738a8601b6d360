"""A share of a run that several processes do together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robustbench_dml.runs import run as runs
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.pipeline import Outcome
from robustbench_dml.runs.task import Task, of_member
from robustbench_dml.utils import distributed


def take_part(task: Task, context: RunContext, member: distributed.Member) -> Outcome | None:
    """Do the share of a member.

    Returns:
        The record in the leading process, None in the others.
    """

    def lead() -> Outcome:
        if task.checkpoint is None:
            return runs.run(task.spec, context, force=task.force)
        return runs.evaluate_as(task.spec, task.checkpoint, context, force=task.force)

    with distributed.process_group(member, context.device):
        return lead_or_assist(lead, lambda work: runs.assist(task.spec, context, work, checkpoint=task.checkpoint))


def lead_or_assist(lead: Callable[[], Outcome], assist: Callable[[Path], None]) -> Outcome | None:
    """Lead a run in the first process, and do a share of it in the others, which return None.

    Args:
        lead: makes the record, and announces its work folder.
        assist: does a share in this work folder.
    """
    if not distributed.is_leader():
        work: Path | None = distributed.broadcast()
        if work is not None:
            assist(work)
        distributed.broadcast()  # the record is written
        return None
    outcome = lead()
    if not outcome.fresh:
        distributed.broadcast(None)  # the other processes wait for a work folder; None ends their wait
    distributed.broadcast(None)
    return outcome


@contextmanager
def joined(context: RunContext) -> Iterator[RunContext]:
    """Join the processes that torchrun or srun started, if any. Yields the context on this process's device."""
    member = distributed.companion()
    if member is None:
        yield context
        return
    context = of_member(context, member)
    with distributed.process_group(member, context.device):
        yield context
