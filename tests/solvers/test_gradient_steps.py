"""PGD, MIM and FGSM against torchattacks, a library of attacks on classifiers."""

from __future__ import annotations

import pytest
import torch
import torchattacks
from solver_support import NORMS, Logits, classes, network, problem
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.dim import DIM, Shrunk
from robustbench_dml.solvers.fgsm import FGSM
from robustbench_dml.solvers.mim import MIM
from robustbench_dml.solvers.pgd import PGD
from robustbench_dml.solvers.tim import TIM
from robustbench_dml.spec.schema import Norm
from robustbench_dml.utils.errors import RbdmlError

PUBLISHED = {"linf": torchattacks.PGD, "l2": torchattacks.PGDL2}


def theirs(attacked: Problem, *, random_start: bool) -> Tensor:
    threat = attacked.threat
    attack = PUBLISHED[threat.norm](
        Logits(attacked), eps=threat.eps, alpha=threat.alpha, steps=threat.steps, random_start=random_start
    )
    return attack(attacked.images, classes(attacked))


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_is_that_of_torchattacks(norm: Norm) -> None:
    attacked = problem(norm, steps=12, model=network(hidden=8))
    found = PGD().run(attacked)
    assert torch.allclose(found, theirs(attacked, random_start=False), atol=1e-9)
    assert float((found - attacked.images).abs().max()) > 0.05


@pytest.mark.parametrize("norm", NORMS)
def test_pgd_is_that_of_torchattacks_from_the_same_start(norm: Norm) -> None:
    attacked = problem(norm, steps=9, model=network(hidden=8))
    torch.manual_seed(3)
    expected = theirs(attacked, random_start=True)
    torch.manual_seed(3)
    found, values = PGD().run_from(attacked, start_of(attacked))
    assert values is None
    assert torch.allclose(found, expected, atol=1e-9)


def start_of(attacked: Problem) -> Tensor:
    """Where torchattacks starts with the global generator in this state."""
    images, eps = attacked.images, attacked.threat.eps
    if attacked.threat.norm == "linf":
        return (images + torch.empty_like(images).uniform_(-eps, eps)).clamp(0, 1)
    away = torch.empty_like(images).normal_()
    reach = torch.zeros(len(images), 1, 1, 1).double().uniform_(0, 1) * eps
    return (images + away / away.flatten(1).norm(dim=1)[:, None, None, None] * reach).clamp(0, 1)


def test_fgsm_is_that_of_torchattacks() -> None:
    attacked = problem(model=network(hidden=8))
    expected = torchattacks.FGSM(Logits(attacked), eps=attacked.threat.eps)(attacked.images, classes(attacked))
    assert torch.allclose(FGSM().run(attacked), expected, atol=1e-12)


def test_fgsm_in_l2_is_one_step_of_the_radius() -> None:
    attacked = problem("l2", model=network(hidden=8))
    one = problem("l2", alpha=attacked.threat.eps, steps=1, model=network(hidden=8))
    assert torch.equal(FGSM().run(attacked), PGD().run(one))
    assert torch.allclose(FGSM().run(attacked), theirs(one, random_start=False), atol=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_fgsm_from_a_random_start_is_one_step_of_five_quarters_of_it(norm: Norm) -> None:
    attacked = problem(norm, model=network(hidden=8))
    longer = problem(norm, alpha=1.25 * attacked.threat.eps, steps=1, model=network(hidden=8))
    found = FGSM(random_start=True).run(attacked)
    assert torch.equal(found, PGD(random_start=True).run(longer))
    assert not torch.allclose(found, FGSM().run(attacked), atol=1e-3)


@pytest.mark.parametrize("decay", [1.0, 0.3])
def test_mim_is_that_of_torchattacks(decay: float) -> None:
    attacked = problem(steps=12, model=network(hidden=8))
    threat = attacked.threat
    attack = torchattacks.MIFGSM(Logits(attacked), eps=threat.eps, alpha=threat.alpha, steps=threat.steps, decay=decay)
    found = MIM(decay=decay).run(attacked)
    assert torch.allclose(found, attack(attacked.images, classes(attacked)), atol=1e-9)
    assert not torch.allclose(found, PGD().run(attacked), atol=1e-3)


@pytest.mark.parametrize("kernel", [3, 5])
def test_tim_is_that_of_torchattacks(kernel: int) -> None:
    attacked = problem(steps=6, shape=(3, 6, 7), model=network(hidden=8, shape=(3, 6, 7)))
    threat, settings = attacked.threat, {"decay": 0.5, "len_kernel": kernel, "diversity_prob": 0.0}
    attack = torchattacks.TIFGSM(Logits(attacked), eps=threat.eps, alpha=threat.alpha, steps=threat.steps, **settings)
    attack.stacked_kernel = attack.stacked_kernel.double()
    found = TIM(decay=0.5, kernel=kernel).run(attacked)
    assert torch.allclose(found, attack(attacked.images, classes(attacked)), atol=1e-6)
    assert not torch.allclose(found, MIM(decay=0.5).run(attacked), atol=1e-3)


def test_dim_shrinks_an_image_to_its_side_at_its_place() -> None:
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    side, middle = torch.tensor([1.0, 0.5]).double(), torch.tensor([[0.0, 0.0], [-0.5, 0.5]]).double()
    seen = Shrunk(nn.Identity(), side, middle)(images)
    assert torch.allclose(seen[0], images[0])
    assert torch.allclose(seen[1, :, 4:, :4], F.avg_pool2d(images[1], 2))  # the lower left quarter
    assert seen[1].count_nonzero() == 16


def test_dim_without_diversity_is_mim_and_refuses_no_share() -> None:
    attacked = problem(steps=5, model=network(hidden=8))
    assert torch.equal(DIM(diversity=0).run(attacked), MIM().run(attacked))
    assert torch.allclose(DIM(least=1).run(attacked), MIM().run(attacked), atol=1e-9)
    with pytest.raises(RbdmlError, match="give shares"):
        DIM(diversity=2.0)
    with pytest.raises(RbdmlError, match="give shares"):
        DIM(least=0.0)
    with pytest.raises(RbdmlError, match="odd number"):
        TIM(kernel=4)


@pytest.mark.parametrize("norm", NORMS)
def test_mim_without_momentum_is_pgd(norm: Norm) -> None:
    attacked = problem(norm, steps=5, model=network(hidden=8))
    assert torch.allclose(MIM(decay=0).run(attacked), PGD().run(attacked), atol=1e-9)
    with pytest.raises(RbdmlError, match=r"decay = 2: give a number from 0 to 1"):
        MIM(decay=2)
