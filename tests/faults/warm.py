"""What every forked run would import, done once. Nothing is computed: threads do not survive a fork."""

from __future__ import annotations

import torch
from faults import victim
from tqdm import tqdm

from robustbench_dml.report import grouping as board
from robustbench_dml.runs import external as foreign
from robustbench_dml.spec import registry

LOADED = (victim, board, foreign, registry)

torch.set_num_threads(1)  # small batches lose more by threads that wait for each other than they gain
tqdm.get_lock()  # type: ignore[no-untyped-call]  # a semaphore: a killed process would leave its own
torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports what solvers need at their first use
