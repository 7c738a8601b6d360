"""Every fake must be flagged, and an honest model must not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import robustbench_dml as rb
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.registry import DEFENSES

FLAGS = {  # of those that name a trick; what attacks it then survives raises others
    "fake-constant": ["collapsed", "no gradient"],
    "fake-shattered": ["no gradient"],
    "fake-noisy": ["random"],
    "fake-saturated": ["no gradient"],
}
TRICKS = {flag for flags in FLAGS.values() for flag in flags}
SMALL: Any = {"device": "cpu", "quiet": True, "budget": "500", "sampler": "M", "pairs": 16}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Record]:
    evaluation = {"queries": 12, "steps": 8, "alpha": 12 / 255}
    out = tmp_path_factory.mktemp("fakes")
    return {name: rb.run(name, "glyphs-mini", out=out, evaluation=evaluation, **SMALL) for name in ("regular", *FLAGS)}


def test_every_fake_is_in_the_table() -> None:
    assert {info.name for info in DEFENSES if info.cls.fake} == set(FLAGS)


@pytest.mark.parametrize("name", FLAGS)
def test_a_fake_is_flagged(records: dict[str, Record], name: str) -> None:
    named = [flag for flag in records[name].diagnostics.disqualifying if flag in TRICKS]
    assert named == FLAGS[name]


def test_an_honest_model_can_be_ranked(records: dict[str, Record]) -> None:
    """A flag of short attacks may be raised."""
    assert records["regular"].diagnostics.disqualifying == []


def test_hidden_gradients_fool_the_score(records: dict[str, Record]) -> None:
    """That is why the flags are needed."""
    for name in ("fake-constant", "fake-shattered", "fake-saturated"):
        assert records[name].primary_score > records["regular"].primary_score + 5, name


def test_a_fake_comes_back_from_its_checkpoint_as_a_fake(tmp_path: Path) -> None:
    record = rb.run("fake-constant", "glyphs-mini", out=tmp_path, evaluation={"queries": 4, "steps": 0}, **SMALL)
    model = rb.load_model(tmp_path / "glyphs-mini" / record.digest / "checkpoint.safetensors", device="cpu")
    found = rb.evaluate(model, "glyphs-mini", device="cpu", quiet=True, queries=4, steps=0)
    assert "collapsed" in found.findings.disqualifying
