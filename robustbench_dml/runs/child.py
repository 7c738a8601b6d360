"""The program of a process that does a run for a sweep, or a share of a run on several devices.

    python -m robustbench_dml.runs.child TASK

TASK is a `Task` as JSON. The exit code is an `ExitCode`.
"""

from __future__ import annotations

import sys

from robustbench_dml.runs.exits import ExitCode, exit_code, message_of
from robustbench_dml.runs.launch import run_task
from robustbench_dml.runs.task import Share, Task
from robustbench_dml.runs.together import take_part
from robustbench_dml.utils import distributed
from robustbench_dml.utils.interrupts import ENDING, end_with_parent, interrupted_by
from robustbench_dml.utils.terminal import one_line


def main() -> None:
    """Do the task on the command line and exit. If the process that started this one ends, the task is interrupted."""
    end_with_parent()
    sys.exit(do(Task.model_validate_json(sys.argv[1])))


def do(task: Task) -> ExitCode:
    """Do a task.

    The message for the user goes to standard error. A process with a share leaves the message for the launcher instead,
    which prints one message, however many processes failed.
    """
    try:
        with interrupted_by(*ENDING):
            task.load_files()
            if task.share is None:
                outcome = run_task(task, task.context())
                print(f"record: {outcome.folder}")
            else:
                take_part(task, task.context(), task.share.member)
    except (Exception, KeyboardInterrupt) as error:
        if task.share is not None and isinstance(error, RuntimeError) and distributed.is_lost_peer(error):
            return ExitCode.LEFT_ALONE
        message = message_of(error)
        if message is None:
            raise
        _leave(message, task.share, interrupted=isinstance(error, KeyboardInterrupt))
        return exit_code(error)
    return ExitCode.DONE


def _leave(message: str, share: Share | None, *, interrupted: bool) -> None:
    if share is None:
        print(f"rbdml: {one_line(message)}", file=sys.stderr)
    elif not interrupted:
        share.message.write_text(message)


if __name__ == "__main__":
    main()
