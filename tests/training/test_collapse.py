from __future__ import annotations

import pytest
import torch
from support import unit_rows
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.training.collapse import EVERY, PATIENCE, CollapseMonitor, collapse_cause
from robustbench_dml.training.testing import small_dataset, small_spec
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.progress import Progress


class Given(nn.Module):
    """Returns given embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = torch.empty(0)

    def forward(self) -> Tensor:
        return self.embeddings


HEALTHY = unit_rows(40, 8, seed=0)
POINT = unit_rows(1, 8, seed=0).repeat(40, 1)
LINE = POINT * torch.tensor([1.0, -1.0]).repeat(20)[:, None]


@pytest.mark.parametrize(
    ("cosine", "rank", "cause"), [(0.995, 5.0, "cosine"), (0.1, 1.1, "rank"), (0.98, 1.3, None), (0.0, 8.0, None)]
)
def test_either_sign_is_enough(cosine: float, rank: float, cause: str | None) -> None:
    found = collapse_cause(cosine, rank)
    assert found is None if cause is None else found is not None and cause in found


def watched(sequence: list[tuple[Tensor, float]]) -> CollapseMonitor:
    """A monitor that has seen these embeddings and losses, one look each."""
    model = Given()
    monitor = CollapseMonitor(model)
    for look, (embeddings, loss) in enumerate(sequence):
        model.embeddings = embeddings
        monitor.begin()
        model()
        monitor.check(look * EVERY, loss)
    return monitor


@pytest.mark.parametrize(("embeddings", "cause"), [(POINT, "cosine"), (LINE, "rank")])
def test_collapse_is_dated_from_its_first_look(embeddings: Tensor, cause: str) -> None:
    monitor = watched([(HEALTHY, 0.1)] * 3 + [(embeddings, 0.1)] * 2)
    assert monitor.since == 3 * EVERY
    assert monitor.cause is not None and cause in monitor.cause
    assert not monitor.confirmed
    assert watched([(HEALTHY, 0.1)] * 3 + [(embeddings, 0.1)] * PATIENCE).confirmed


def test_a_loss_at_the_margin_counts_where_the_embeddings_are_close() -> None:
    """A healthy adversary may hold the loss at the margin while the embeddings stay apart."""
    halves = F.normalize(POINT + 0.25 * unit_rows(40, 8, seed=1), dim=1)
    monitor = watched([(halves, 0.2001)])
    assert monitor.cause is not None and "margin" in monitor.cause
    assert watched([(halves, 0.15)]).cause is None
    assert watched([(HEALTHY, 0.2001)]).cause is None


def test_recovery_is_no_collapse() -> None:
    monitor = watched([(POINT, 0.2)] * 5 + [(HEALTHY, 0.1)])
    assert (monitor.since, monitor.cause) == (None, None)

    long = watched([(POINT, 0.2)] * PATIENCE + [(HEALTHY, 0.1)])
    assert long.since == 0  # what has lasted is reported all the same


def test_only_the_forwards_of_the_loss_are_watched() -> None:
    model = Given()
    monitor = CollapseMonitor(model)
    model.embeddings = POINT
    model()  # of the perturbation
    monitor.begin()
    model.embeddings = HEALTHY
    model()
    monitor.check(0, 0.1)
    model.embeddings = POINT
    model()  # of an evaluation
    monitor.check(EVERY, 0.1)
    assert monitor.since is None


def test_the_state_goes_through_a_checkpoint() -> None:
    monitor, again = watched([(POINT, 0.2)] * 4), CollapseMonitor(Given())
    again.load_state(monitor.state())
    assert (again.since, again.cause, again._checks) == (0, monitor.cause, 4)


@pytest.mark.parametrize("choice", ["stop", "continue"])
def test_a_collapsed_training_is_reported_and_stopped_if_asked(choice: str) -> None:
    """Weights that leave the bias alone to decide give every image the same embedding; they are not stepped."""
    spec = small_spec("regular", budget="6k")
    training = spec.training.model_copy(update={"on_collapse": choice})
    trainer = Trainer(spec.model_copy(update={"training": training}), small_dataset(), device=torch.device("cpu"))
    with torch.no_grad():
        for name, weights in trainer.model.named_parameters():
            weights.fill_(1.0 if name.endswith("bias") else 0.0)
    for group in trainer.optimizer.param_groups:
        group["lr"] = 0.0
    trainer.run(progress=Progress(quiet=True))
    assert trainer.end.collapsed_at == 0
    assert trainer.end.collapse_cause is not None
    assert trainer.end.stopped == (choice == "stop")
    assert (trainer.spent.iterations <= PATIENCE * EVERY) == (choice == "stop")
