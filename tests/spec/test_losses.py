"""Losses have PML's names and parameters, and a run without one keeps its digest."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from pytorch_metric_learning import losses, miners

from robustbench_dml.runs.command import settings_of
from robustbench_dml.spec.loss_names import LOSS_MINERS, LOSSES
from robustbench_dml.spec.losses import PROXY_LR, build_loss, build_miner, loss_spec, parameters_of
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import LossSpec, RunSpec
from robustbench_dml.utils.errors import RbdmlError

OURS = "robustbench_dml."


def spec(defense: str = "regular", *, params: dict[str, Any] | None = None, **training: Any) -> RunSpec:
    return make_spec(defense=defense, dataset="glyphs-mini", params=params, training=training)


def test_without_a_loss_nothing_is_written() -> None:
    plain = spec()
    assert "loss" not in json.loads(plain.model_dump_json())["training"]
    assert spec(loss="triplet") == plain
    assert spec(loss="triplet").digest == plain.digest
    assert len({spec(loss=name).digest for name in LOSSES} | {plain.digest}) == len(LOSSES) + 1


@pytest.mark.parametrize("name", LOSSES)
def test_parameters_and_defaults_are_those_of_pml(name: str) -> None:
    """Each default is an argument of PML's class or of the loss that it extends, and changes nothing when given."""
    bases = [cls for cls in getattr(losses, name).__mro__ if cls.__module__.startswith("pytorch_metric_learning")]
    usual = parameters_of(name)
    for key, value in usual.items():
        defaults = [inspect.signature(cls.__init__).parameters.get(key) for cls in bases if "__init__" in vars(cls)]
        assert next(one.default for one in defaults if one is not None) == value
    loss = loss_spec(name)
    assert loss is not None and loss.params == usual
    assert type(build_loss(loss, classes=3, dimension=4)) is getattr(losses, name)
    assert RunSpec.model_validate_json(spec(loss=name).model_dump_json()) == spec(loss=name)


@pytest.mark.parametrize("name", LOSS_MINERS)
def test_miners_are_those_of_pml(name: str) -> None:
    assert type(build_miner(name)) is getattr(miners, name)


def test_values_are_read_as_numbers_of_pmls_types() -> None:
    read = loss_spec("MarginLoss", {"beta": "1.5", "nu": "0.5", "learn_beta": "true", "triplets_per_anchor": "3"})
    assert read is not None
    assert read.params == {"beta": 1.5, "nu": 0.5, "learn_beta": True, "triplets_per_anchor": 3, "margin": 0.2}
    assert read.lr == PROXY_LR  # the boundaries are learned
    same = [loss_spec("CircleLoss", {"gamma": value}) for value in (64, 64.0, "64", "6.4e1")]
    assert [json.dumps(one and one.params) for one in same] == [json.dumps(same[0] and same[0].params)] * 4


def test_learnable_proxies_have_a_learning_rate() -> None:
    rates = {name: getattr(loss_spec(name), "lr") for name in LOSSES}  # noqa: B009 - none of them is None
    learned = {name for name, rate in rates.items() if rate is not None}
    assert learned == {
        *("ArcFaceLoss", "CosFaceLoss", "NormalizedSoftmaxLoss", "ProxyAnchorLoss", "ProxyNCALoss", "SoftTripleLoss"),
        "SubCenterArcFaceLoss",
    }
    assert loss_spec("ProxyAnchorLoss", lr=0.5) == LossSpec(
        name="ProxyAnchorLoss", params={"alpha": 32, "margin": 0.1}, lr=0.5
    )


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"loss": "ProxyAnchor"}, "unknown loss 'ProxyAnchor': did you mean 'ProxyAnchorLoss'"),
        ({"loss": "ProxyAnchorLoss", "loss_params": {"alfa": 1}}, "did you mean 'alpha'.*it has alpha, margin"),
        ({"loss": "ProxyAnchorLoss", "loss_params": {"alpha": "big"}}, "'alpha' cannot be 'big': give a finite number"),
        ({"loss": "ProxyAnchorLoss", "loss_params": {"alpha": "nan"}}, "'alpha' cannot be 'nan'"),
        ({"loss": "SoftTripleLoss", "loss_params": {"centers_per_class": 2.5}}, "refuses its parameters"),
        ({"loss": "MarginLoss", "loss_params": {"learn_beta": "maybe"}}, "give true or false"),
        ({"loss": "CircleLoss", "loss_lr": 0.1}, "learns nothing with these parameters: leave --loss-lr out"),
        ({"loss": "CircleLoss", "loss_miner": "HardMiner"}, "unknown miner 'HardMiner'"),
        ({"loss_params": {"margin": 1}}, "the triplet loss has gamma 0.2 and no other settings"),
        ({"loss": "triplet", "loss_lr": 0.1}, "the triplet loss has gamma 0.2"),
    ],
)
def test_other_values_are_refused_in_one_line(training: dict[str, Any], message: str) -> None:
    with pytest.raises(RbdmlError, match=message) as refusal:
        spec(**training)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("defense", ["act", "hm-lga-ics", "madry", "hm-free", "ca-tride"])
def test_a_defense_defined_on_triplets_refuses_other_losses(defense: str) -> None:
    with pytest.raises(
        RbdmlError, match=r"is defined on triplets: leave --loss out, or choose one of est, .*regular.*, ses"
    ):
        spec(defense, loss="ContrastiveLoss")
    assert spec(defense, loss="triplet") == spec(defense)


def test_a_sampler_of_triplets_is_refused_beside_a_loss_on_batches() -> None:
    with pytest.raises(RbdmlError, match="leave --sampler out"):
        spec(params={"sampler": "S"}, loss="ContrastiveLoss")


def test_a_defense_that_trains_nothing_ignores_the_loss_like_all_training_settings() -> None:
    assert spec("untrained", loss="ContrastiveLoss") == spec("untrained")


@pytest.mark.parametrize(
    "training",
    [
        *({"loss": name} for name in LOSSES),
        {"loss": "MarginLoss", "loss_params": {"learn_beta": True, "beta": 1}, "loss_lr": 0.3, "loss_miner": "none"},
        {"loss": "ContrastiveLoss", "loss_miner": "PairMarginMiner", "warmup": 0.1},
    ],
)
def test_the_settings_of_a_loss_are_repeated(training: dict[str, Any]) -> None:
    made = spec(**training)
    assert make_spec(**settings_of(made)) == made


def test_the_able_defenses_are_those_with_a_loss_of_the_batch() -> None:
    able = {info.cls.__name__ for info in DEFENSES if info.cls.takes_losses and OURS in info.cls.__module__}
    assert able == {"Regular", "Fake", "EmbeddingShiftedTriplet", "SuppressedEmbeddingShift"}
