"""Training, attacks and a whole run on a pretend GPU: no mix of devices, no wait per step, few launches."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from image_trees import bare_machine, write_folder
from pretend_support import DEVICE, LATE, PretendDevice, Wait, pretend_device
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

import robustbench_dml as rb
from robustbench_dml.attacks.lists import ReturnedLists
from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.context import AttackContext, make_context
from robustbench_dml.evaluation.ensemble import run_attack
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.models.embedder import Embedder
from robustbench_dml.retrieval.gallery import Items
from robustbench_dml.solvers.group_pgd import pgd
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.square import Square
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import ATTACKS, BACKBONES, DEFENSES, SOLVERS, BackboneInfo
from robustbench_dml.spec.schema import Evaluation, SolverSpec, Threat
from robustbench_dml.training.testing import BACKBONE, small_dataset
from robustbench_dml.training.trainer import Trainer
from robustbench_dml.utils.interrupts import Interrupts
from robustbench_dml.utils.progress import Progress

FEW, MANY = 2, 4  # steps of two runs to compare
# Most launches of a step of training or an attack, on the small network and gallery; an attack adds those of targets.
TRAINING_LAUNCHES, ATTACK_LAUNCHES, TARGET_LAUNCHES = 80, 200, 25
DATA = small_dataset()
PHOTOGRAPHS = BackboneInfo(
    name="test-photographs",
    summary="one convolution and one linear layer, for tests",
    paper="",
    build=lambda: nn.Sequential(nn.Conv2d(3, 4, 32, stride=32), nn.ReLU(), nn.Flatten(), nn.Linear(196, 8)),
    channels=3,
    side=224,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
)


def own(registry: Any) -> list[str]:
    """Names of the entries that are no test's."""
    return [info.name for info in registry if info.cls.__module__.startswith("robustbench_dml.")]


class AfterOne(Interrupts):
    def check(self) -> None:
        raise KeyboardInterrupt


def iterate(defense: str, *, steps: int, state: Path | None = None, resumed: bool = False) -> PretendDevice:
    """Do the first iteration of two, or the second one from a checkpoint."""
    training = {"pairs": 6, "eta": steps, "lr": 1e-3, "warmup": 0}
    spec = make_spec(defense=defense, dataset="glyphs", budget="2it", training=training)
    with pretend_device() as device, contextlib.suppress(KeyboardInterrupt):
        trainer = Trainer(spec.model_copy(update={"backbone": BACKBONE}), DATA, device=DEVICE)
        trainer.run(progress=Progress(quiet=True), checkpoint=state, interrupts=None if resumed else AfterOne())
        assert not resumed or trainer.spent.iterations == 2 or not trainer.defense.trains
    return device


def growing(few: PretendDevice, many: PretendDevice) -> Counter[Wait]:
    """Waits that more steps add, other than those a step late."""
    return Counter({wait: count for wait, count in (many.waits - few.waits).items() if wait.kind != LATE})


@pytest.mark.parametrize("defense", own(DEFENSES))
def test_a_defense_trains_and_resumes(defense: str, tmp_path: Path) -> None:
    few = iterate(defense, steps=FEW, state=tmp_path / "state.safetensors")
    iterate(defense, steps=FEW, state=tmp_path / "state.safetensors", resumed=True)
    many = iterate(defense, steps=MANY)
    assert not growing(few, many)
    assert many.launches - few.launches <= TRAINING_LAUNCHES * (MANY - FEW)


def solver_of(name: str, steps: int) -> SolverSpec:
    """A short search; solvers with steps of their own take as many."""
    fields: dict[str, dict[str, Any]] = {
        "ensemble": {"restarts": 1, "steps": steps, "square_queries": steps, "classes": 1},
        "minimal-radius": {"rounds": 1, "steps": steps, "square_queries": steps},
        "nes": {"population": 4},
        "square": {"queries": steps},
    }
    return SolverSpec(name=name, params=fields.get(name, {}))


def context(solver: str, *, steps: int) -> AttackContext:
    """A small gallery, a network with its weights on the device, and a surrogate."""
    evaluation = Evaluation(
        protocol="ers",
        threat=Threat(eps=0.1, alpha=0.02, steps=steps),
        queries=None,
        seed=0,
        solver=solver_of(solver, steps),
    )
    made: AttackContext | None = None
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Embedder(nn.Sequential(nn.Flatten(), nn.Linear(784, 8)))
        test = DATA.test.to(DEVICE)
        made = make_context(model, test, evaluation=evaluation, dataset=DATA.name, device=DEVICE, surrogate=made)
    assert made is not None
    return made


def attack(name: str, solver: str, *, steps: int) -> tuple[PretendDevice, int, int]:
    """Attack four images. Returns the counts, the number of forward passes, and the number of targets."""
    passes = 0

    def count(module: nn.Module, *_: object) -> None:
        nonlocal passes
        passes += isinstance(module, Embedder)

    with pretend_device() as device:
        posed = context(solver, steps=steps)
        items = Items(posed.gallery, torch.arange(4, device=DEVICE))
        targets = posed.block(ATTACKS.get(name).build(), name, items).targets.shape[1]
        device.waits.clear()
        device.launches = 0
        hook = register_module_forward_hook(count)
        try:
            run_attack(posed, name, items)
        finally:
            hook.remove()
    return device, passes, targets


RUNS = [
    *((name, ATTACKS.get(name).cls.requires_solver or "pgd") for name in own(ATTACKS)),
    *(("ranking-margin", solver) for solver in own(SOLVERS)),
]


@pytest.mark.parametrize(("name", "solver"), RUNS)
def test_an_attack_does_not_wait_for_its_steps(name: str, solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReturnedLists, "own_solver", Square(queries=FEW))
    few, passes, targets = attack(name, solver, steps=FEW)
    many, more_passes, _ = attack(name, solver, steps=MANY)
    assert not growing(few, many)
    most = ATTACK_LAUNCHES + TARGET_LAUNCHES * targets
    assert many.launches - few.launches <= most * (more_passes - passes)


def test_a_run_on_photographs_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)
    monkeypatch.setitem(BACKBONES._entries, PHOTOGRAPHS.name, PHOTOGRAPHS)
    write_folder(tmp_path / "photographs", classes=("ant", "bee", "cow", "dog", "eel", "fox"), per_class=4)
    with pretend_device() as device:
        record = rb.run(
            "hm-lga-ics",
            f"folder:{tmp_path / 'photographs'}",
            device="cuda",
            backbone=PHOTOGRAPHS.name,
            pretrained=False,
            budget="2it",  # the second batch is read ahead
            out=tmp_path / "runs",
            quiet=True,
            training={"pairs": 6, "eta": 1},
            evaluation={"queries": 2, "steps": 1},
        )
        (path,) = (tmp_path / "runs").rglob("checkpoint.safetensors")
        model = load_checkpoint(path, device=DEVICE).model
        assert all(parameter.is_cuda for parameter in model.parameters())
        assert weights_hash(model) == record.provenance.weights
    assert record.provenance.device == "pretended" and device.launches


def plant(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], right: str, wrong: str) -> None:
    """Replace a piece of a function's source, for everyone who imported the function."""
    lines, first = inspect.getsourcelines(function)
    source = textwrap.dedent("".join(lines))
    assert source.count(right) == 1, f"{function.__qualname__} has no single '{right}'"
    scope: dict[str, Any] = {}
    changed = "\n" * (first - 1) + source.replace(right, wrong)
    exec(compile(changed, function.__code__.co_filename, "exec"), function.__globals__, scope)
    monkeypatch.setattr(function, "__code__", scope[function.__name__].__code__)


def test_a_missing_move_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, Split.to, "self.labels.to(device)", "self.labels")
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        iterate("act", steps=1)


def test_a_generator_of_the_host_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def augment() -> Tensor:
        with pretend_device():
            return DATA.train.to(DEVICE).augmented(torch.arange(2, device=DEVICE), torch.Generator())

    augment()
    plant(monkeypatch, Split.augmented, "dtype=torch.float64", "device=self.labels.device")
    with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
        augment()


def test_a_number_read_in_the_loop_of_training_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, pgd, "current.detach(), gradient)", "current.detach(), gradient + 0 * values.sum().item())")
    found = growing(iterate("act", steps=FEW), iterate("act", steps=MANY))
    assert [(wait.kind, wait.line.split(":")[0], many) for wait, many in found.items()] == [
        ("_local_scalar_dense", "solvers/group_pgd.py", MANY - FEW)
    ]


def test_a_number_read_in_the_loop_of_an_attack_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plant(
        monkeypatch, PGD.run_from, "descend(images, gradient)", "descend(images, gradient + 0 * gradient.sum().item())"
    )
    found = growing(attack("es", "pgd", steps=FEW)[0], attack("es", "pgd", steps=MANY)[0])
    assert [(wait.kind, wait.line.split(":")[0], many) for wait, many in found.items()] == [
        ("_local_scalar_dense", "solvers/pgd.py", MANY - FEW)
    ]


REFUSED: list[Callable[[Tensor], object]] = [
    lambda x: x + torch.zeros(3),
    lambda x: torch.cat([x, torch.zeros(3)]),
    lambda x: torch.zeros(3)[x.long()],
    lambda x: x.numpy(),
    lambda x: x.uniform_(generator=torch.Generator()),
    lambda _: torch.rand(3, device="cuda", generator=torch.Generator()),
]


@pytest.mark.parametrize("use", REFUSED)
def test_a_use_that_a_gpu_refuses_raises(use: Callable[[Tensor], object]) -> None:
    with pretend_device(), pytest.raises((RuntimeError, TypeError)):
        use(torch.zeros(3, device="cuda"))


def test_waits_are_counted_by_kind() -> None:
    with pretend_device() as device:
        x = torch.arange(4.0).to("cuda").requires_grad_()
        (x * x).sum().backward()
        assert x.grad is not None and x.grad.is_cuda and x.grad.tolist() == [0, 2, 4, 6]
        assert float(x[1].detach()) == 1 and len(x[x > 1]) == 2
    kinds = Counter(wait.kind for wait in device.waits.elements())
    assert kinds == {"copy to device": 1, "tolist": 1, "_local_scalar_dense": 1, "mask as index": 1}
