"""One process and two come to the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices_support import (
    CUT,
    PROCESSES,
    Job,
    Trained,
    embeddings_seen,
    evaluate,
    evaluate_in_memory,
    interrupt,
    together,
    train,
    trained,
)

from robustbench_dml.evaluation.attack_cache import CACHE_FILE

JOBS = [
    Job("hm-lga-ics"),
    Job("regular", budget="200"),
    Job("act"),
    Job("est"),
    Job("ses", norm="l2"),
    Job("ca-tride"),
    Job("hm-free", budget="400"),
    Job("test-own-loop"),
    Job("test-few"),
]
SINGLE = [Job("regular", double=False, budget="200"), Job("act", double=False), Job("hm-lga-ics", double=False)]
NAMES = [job.defense for job in JOBS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("together")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """By the number of each process."""
    return together([*JOBS, *SINGLE], folder)


def difference(one: Trained, other: Trained) -> float:
    """Between any two weights, at most."""
    return max(float((one.weights[name] - other.weights[name]).abs().max()) for name in one.weights)


@pytest.mark.parametrize("job", JOBS, ids=NAMES)
def test_two_processes_come_to_the_weights_of_one(job: Job, found: dict[str, Any]) -> None:
    alone, pair = train(job.trainer()), [found[str(number)]["jobs"][job] for number in range(PROCESSES)]
    assert difference(pair[0], pair[1]) == 0
    assert difference(alone, pair[0]) < 1e-12
    assert difference(alone, trained(job.trainer())) > 1e-3  # than before
    assert pair[0].counts == pair[1].counts == alone.counts and alone.counts[-1] > CUT
    assert pair[0].loss == pair[1].loss == pytest.approx(alone.loss, rel=1e-11)
    assert pair[0].collapsed_at == pair[1].collapsed_at == alone.collapsed_at


@pytest.mark.parametrize("job", SINGLE, ids=[job.defense for job in SINGLE])
def test_in_float32_they_differ_by_rounding(job: Job, found: dict[str, Any]) -> None:
    alone, pair = train(job.trainer()), [found[str(number)]["jobs"][job] for number in range(PROCESSES)]
    assert difference(pair[0], pair[1]) == 0
    assert difference(alone, pair[0]) < 1e-3
    assert pair[0].counts == pair[1].counts


def test_an_interrupt_of_one_process_stops_all_after_the_same_iteration(found: dict[str, Any], tmp_path: Path) -> None:
    alone = interrupt(JOBS[0], tmp_path / "state.safetensors")
    for number in range(PROCESSES):
        assert found[str(number)]["interrupted"].counts == alone.counts
        assert alone.counts[-1] == CUT


def test_they_go_on_to_the_weights_that_they_would_have_come_to(found: dict[str, Any], folder: Path) -> None:
    whole = found["0"]["jobs"][JOBS[0]]
    for number in range(PROCESSES):
        resumed = found[str(number)]["resumed"]
        assert difference(resumed, whole) == 0
        assert (resumed.counts, resumed.loss) == (whole.counts, whole.loss)


def test_one_process_goes_on_with_a_training_of_two(found: dict[str, Any], folder: Path) -> None:
    whole, alone = found["0"]["jobs"][JOBS[0]], train(JOBS[0].trainer(), checkpoint=folder / "interrupted.safetensors")
    assert difference(alone, whole) < 1e-12
    assert alone.counts == whole.counts


def test_the_values_of_an_evaluation_are_those_of_one_process_bit_for_bit(found: dict[str, Any], folder: Path) -> None:
    alone = evaluate()
    for number in range(PROCESSES):
        values = found[str(number)]["evaluated"]
        assert list(values) == list(alone)
        assert all(torch.equal(values[name], alone[name]) for name in alone)


def test_processes_share_the_attacks_on_a_model_in_memory(found: dict[str, Any]) -> None:
    """Each call joins the processes anew, and leaves them."""
    values, attacks = evaluate_in_memory()
    for turn in range(2):
        shares = [found[str(number)]["in memory"][turn] for number in range(PROCESSES)]
        assert sum(made for _, made in shares) == attacks and all(0 < made < attacks for _, made in shares)
        assert all(np.array_equal(own[name], values[name]) for own, _ in shares for name in values)


def test_one_process_goes_on_with_an_evaluation_of_two(
    found: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps what it has found in its own file."""
    assert len(list(folder.glob(f"{Path(CACHE_FILE).stem}*"))) == PROCESSES
    monkeypatch.setattr("robustbench_dml.evaluation.context.AttackContext.attack", None)
    again = evaluate(folder)
    assert all(torch.equal(again[name], values) for name, values in found["0"]["evaluated"].items())


def test_hooks_on_the_network_and_its_copies_see_all_embeddings_and_later_their_own(found: dict[str, Any]) -> None:
    images = torch.linspace(0, 1, 5 * 784).view(5, 1, 28, 28)
    single = embeddings_seen(images)  # of this process: the whole batch twice, then one image twice
    for number in range(PROCESSES):
        few = single[: number + 1]
        assert torch.allclose(found[str(number)]["seen"], torch.cat([single[:10], few, few]), atol=1e-6)


def test_batch_norm_that_would_see_a_share_is_refused(found: dict[str, Any]) -> None:
    for number in range(PROCESSES):
        assert "use --batchnorm frozen, or one device" in found[str(number)]["batchnorm"]


def test_a_defense_whose_triplets_no_seed_decides_is_refused(found: dict[str, Any]) -> None:
    for number in range(PROCESSES):
        assert "chose different triplets" in found[str(number)]["dice"]
