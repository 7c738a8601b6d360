"""Attacks of users whose hooks break the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from attack_support import EVERY, small_model, small_split

import robustbench_dml as rb

SOURCE = """\
from robustbench_dml import Attack, Column, distance, register_attack


class Near(Attack):
    def choose_targets(self, items, draws):
        return items.nearest[:, :1]

    def objective(self, embeddings, block):
        return block.distance_to_targets(embeddings).squeeze(1)

    def score(self, embeddings, block):
        return {"N": distance(embeddings.double(), block.target_embeddings.squeeze(1).double())}


def registered(name, **hooks):
    column = Column(name="N", meaning="distance", scale=1, ers_slope=50, ers_offset=0)
    register_attack(name, summary="a test", paper="none", columns=(column,))(type(name, (Near,), hooks))


registered("good")
registered("raises", objective=lambda self, embeddings, block: embeddings.nothing)
registered("scalar", objective=lambda self, embeddings, block: embeddings.sum())
registered("detached", objective=lambda self, embeddings, block: embeddings.detach().sum(1))
registered("outside", choose_targets=lambda self, items, draws: items.nearest[:, :1] * 100_000 + 99_999)
registered("floats", choose_targets=lambda self, items, draws: items.nearest[:, :1].float())
registered("other-column", score=lambda self, embeddings, block: {"M": embeddings.sum(1)})
registered("nan", score=lambda self, embeddings, block: {"N": embeddings.sum(1) * float("nan")})
"""


def evaluated(folder: Path, name: str) -> dict[str, float]:
    path = folder / "mine.py"
    path.write_text(SOURCE)
    split = small_split()
    found = rb.evaluate(
        small_model(0),
        split.batch(EVERY),
        split.labels,
        extra_attack=[f"{path}:{name}"],
        queries=6,
        steps=1,
        eps=0.1,
        quiet=True,
        device="cpu",
    )
    return found.attacked


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    from robustbench_dml.spec.registry import ATTACKS

    assert "good" not in ATTACKS  # loads the attacks of the project first
    monkeypatch.setattr(ATTACKS, "_entries", dict(ATTACKS._entries))


def test_a_good_attack_is_run(tmp_path: Path) -> None:
    assert 0 <= evaluated(tmp_path, "good")["N"] <= 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", r"objective fails at .*mine\.py:\d+ \(AttributeError: "),
        ("scalar", r"objective gives shape \(\), torch\.float64: let it return a tensor of shape \(4,\)"),
        ("detached", "objective gives values without gradient: let it return a function of embeddings"),
        ("outside", "choose_targets gives rows outside the gallery: let it return rows from 0 to 47"),
        ("floats", r"choose_targets gives shape \(4, 1\), torch\.float32: let it return \(4, W\) int64 rows"),
        ("other-column", r"score gives \['M'\]: let it return a dict of the registered columns \['N'\]"),
        ("nan", "score of 'N' gives values that are not finite"),
    ],
)
def test_a_broken_hook_is_named_before_any_attack(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(rb.RbdmlError, match=f"attack '{name}': {message}") as caught:
        evaluated(tmp_path, name)
    assert "\n" not in str(caught.value)


def test_the_hooks_of_a_defense_are_named(tmp_path: Path) -> None:
    class Nothing(rb.Defense):
        def perturb(self, model: object, batch: object) -> None:  # type: ignore[override]
            return None

        def loss(self, model: object, batch: object, perturbed: object) -> torch.Tensor:
            return torch.zeros(3)

    class Vector(Nothing):
        def perturb(self, model: object, batch: rb.Batch) -> rb.Perturbed:  # type: ignore[override]
            rows = torch.arange(3)
            return rb.Perturbed(rb.Triplets(rows, rows, rows))

    for cls, message in ((Nothing, "perturb gives a NoneType"), (Vector, r"loss gives shape \(3,\)")):
        with pytest.raises(rb.RbdmlError, match=message):
            rb.train(cls, "glyphs-mini", budget=100, pairs=8, quiet=True, device="cpu", warmup=0)
