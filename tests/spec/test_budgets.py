from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustbench_dml.spec.budgets import parse_budget, parse_seconds, short_passes, short_time
from robustbench_dml.spec.registry import DATASETS
from robustbench_dml.spec.schema import ComputeUsed
from robustbench_dml.training.meter import PropagationMeter
from robustbench_dml.utils.errors import RbdmlError

MINI = DATASETS.get("glyphs-mini")


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def counts(meter: PropagationMeter) -> tuple[int, int, int]:
    return meter.forward_only, meter.to_input, meter.to_weights


def test_each_kind_is_counted(network: nn.Module) -> None:
    with PropagationMeter(network) as meter:
        with torch.no_grad():
            network(torch.rand(3, 4))
        assert counts(meter) == (3, 0, 0)
        x = torch.rand(5, 4, requires_grad=True)
        torch.autograd.grad(network(x).sum(), x)
        assert counts(meter) == (3, 5, 0)
        network(torch.rand(7, 4)).sum().backward()
        assert counts(meter) == (3, 5, 7)
        network(x).sum().backward()  # both gradients: the dearer kind
        assert counts(meter) == (3, 5, 12)
    network(torch.rand(2, 4))
    assert counts(meter) == (3, 5, 12)


def test_a_forward_with_gradient_that_nobody_uses_is_a_forward(network: nn.Module) -> None:
    with PropagationMeter(network) as meter:
        network(torch.rand(6, 4))
        assert counts(meter) == (6, 0, 0)


def test_several_forwards_of_one_backward_are_all_counted(network: nn.Module) -> None:
    with PropagationMeter(network) as meter:
        (network(torch.rand(2, 4)).sum() * network(torch.rand(3, 4)).sum()).backward()
        assert counts(meter) == (0, 0, 5)


def test_frozen_weights_make_it_an_input_gradient(network: nn.Module) -> None:
    network.requires_grad_(False)
    with PropagationMeter(network) as meter:
        network(torch.rand(4, 4, requires_grad=True)).sum().backward()
        assert counts(meter) == (0, 4, 0)


def test_a_second_backward_through_one_forward_is_charged_again(network: nn.Module) -> None:
    with PropagationMeter(network) as meter:
        loss = network(torch.rand(4, 4)).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        assert counts(meter) == (0, 0, 8)


@pytest.mark.parametrize("derive", [lambda weight: weight, lambda weight: 2 * weight, lambda weight: weight.detach()])
def test_a_functional_call_hides_no_later_gradient(network: nn.Module, derive: Callable[[Tensor], Tensor]) -> None:
    weights = {name: derive(weight) for name, weight in network.named_parameters()}
    with PropagationMeter(network) as meter:
        moved = torch.func.functional_call(network, weights, (torch.rand(5, 4, requires_grad=True),))
        moved.sum().backward()
        assert meter.to_input + meter.to_weights == 5
        before = meter.to_weights
        network(torch.rand(3, 4)).sum().backward()
        assert meter.to_weights == before + 3


def test_a_copy_of_the_network_is_counted_too(network: nn.Module) -> None:
    with PropagationMeter(network) as meter:
        network(torch.rand(2, 4)).sum().backward()
        twin = copy.deepcopy(network)
        with torch.no_grad():
            twin(torch.rand(9, 4))
        twin(torch.rand(5, 4)).sum().backward()
        assert counts(meter) == (9, 0, 7)


@pytest.mark.parametrize("twin", [False, True], ids=["itself", "copy"])
def test_a_part_that_would_not_be_counted_is_refused(network: nn.Module, twin: bool) -> None:
    images = torch.rand(3, 4)
    with PropagationMeter(network) as meter:
        called = copy.deepcopy(network) if twin else network
        assert isinstance(called, nn.Sequential)
        ways: list[Callable[[Tensor], object]] = [called.forward, called[1:], lambda x: called[2](called[:2](x))]
        for around in ways:
            with pytest.raises(RbdmlError, match=r"a part of the network .* was called outside of its forward"):
                around(images)
        assert counts(meter) == (0, 0, 0)
        with pytest.raises(RuntimeError):  # a forward that fails leaves no door open
            called(torch.rand(3, 9))
        with pytest.raises(RbdmlError, match="called outside of its forward"):
            called[0](images)
        called(images)
        assert counts(meter) == (3, 0, 0)
    called[0](images)  # nobody counts any more


def test_a_network_may_call_itself() -> None:
    class Mirrored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(4, 2)

        def forward(self, images: Tensor, *, both: bool = True) -> Tensor:
            turned = self(images.flip(1), both=False) if both else 0
            found: Tensor = self.part(images) + turned
            return found

    network = Mirrored()
    with PropagationMeter(network) as meter:
        network(torch.rand(3, 4))
        assert counts(meter) == (6, 0, 0)


def test_images_may_be_given_by_keyword() -> None:
    class Named(nn.Module):
        def forward(self, *, images: Tensor) -> Tensor:
            return images.sum(1)

    network = Named()
    with PropagationMeter(network) as meter:
        network(images=torch.rand(3, 4))
        assert counts(meter) == (3, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(["forward", "input", "weights"]), st.integers(1, 6)), max_size=12))
def test_any_sequence_adds_up(steps: list[tuple[str, int]]) -> None:
    network = nn.Linear(3, 2)
    with PropagationMeter(network) as meter:
        for kind, images in steps:
            x = torch.rand(images, 3, requires_grad=kind == "input")
            output: Tensor = network(x)
            if kind == "input":
                torch.autograd.grad(output.sum(), x)
            elif kind == "weights":
                output.sum().backward()
    total = {kind: sum(n for k, n in steps if k == kind) for kind in ("forward", "input", "weights")}
    assert counts(meter) == (total["forward"], total["input"], total["weights"])


def test_a_meter_continues_from_earlier_compute(network: nn.Module) -> None:
    with PropagationMeter(network, start=ComputeUsed(forward_only=1, to_input=2, to_weights=3)) as meter:
        network(torch.rand(4, 4)).sum().backward()
    assert counts(meter) == (1, 2, 7)


def test_a_forward_alone_is_a_third_of_a_pass() -> None:
    assert ComputeUsed(forward_only=9, to_input=4, to_weights=2).passes == 9


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("20M", "passes", 20_000_000),
        ("1.5e6", "passes", 1_500_000),
        ("150k", "passes", 150_000),
        ("7", "passes", 7),
        ("10min", "seconds", 600),
        ("2h", "seconds", 7200),
        ("90s", "seconds", 90),
        ("0.5 min", "seconds", 30),
        ("quick", "passes", MINI.train_images * 16 * 33 // 32),
        ("standard", "passes", MINI.train_images * 16 * 33 // 4),
        ("paper", "passes", MINI.train_images * 16 * 33),
        ("375it", "iterations", 375),
        ("1 iteration", "iterations", 1),
        ("2e3 iterations", "iterations", 2000),
        ("schedule", "iterations", MINI.train_images * 16 // 256),
    ],
)
def test_budgets_are_read(text: str, kind: str, amount: int) -> None:
    budget = parse_budget(text, MINI)
    assert (budget.kind, budget.amount) == (kind, amount)


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "-5",
        "",
        "nan",
        "inf",
        "1e400",
        "0s",
        "0.2",
        "ten",
        "5 days",
        "1e99",
        "M",
        "5,5",
        "0x10",
        "quick!",
        "5m",
        ".5M",
        "\u0663",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(RbdmlError, match="budget"):
        parse_budget(text, MINI)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_refused(text: str) -> None:
    with contextlib.suppress(RbdmlError):
        assert parse_budget(text, MINI).amount >= 1


@pytest.mark.parametrize("text", ["", "5", "5 years", "-5min", "nan s", "9" * 400 + "h", "1e3s", "1" * 15 + "h"])
def test_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RbdmlError, match="is not a time: give seconds") as caught:
        parse_seconds(text)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5min", 300), (" 2.5 h ", 9000), ("0s", 0)])
def test_a_time_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    ("passes", "text"), [(0, "0"), (94_333, "94.3k"), (999_600, "1M"), (3_168_000, "3.17M"), (25e6, "25M")]
)
def test_passes_have_three_digits(passes: float, text: str) -> None:
    assert short_passes(passes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (99, "99 s"), (100, "2 min"), (5900, "98 min"), (6000, "1.7 h"), (1e6, "278 h")]
)
def test_times_have_two_digits(seconds: float, text: str) -> None:
    assert short_time(seconds) == text
