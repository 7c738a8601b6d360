"""The Square Attack against a loop written from the paper, and beside torchattacks."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest
import torch
import torchattacks
from solver_support import NORMS, Logits, classes, lengths, network, problem
from torch import Tensor

from robustbench_dml.solvers.base import Problem
from robustbench_dml.solvers.square import Square, bumps
from robustbench_dml.spec.schema import Norm
from robustbench_dml.utils.errors import RbdmlError

COLOUR = (3, 11, 13)


def bump(h: int, transposed: bool) -> Tensor:
    """Equations 2 and 3 of the paper, pixel by pixel, of length 1."""

    def half(height: int, width: int) -> Tensor:
        n = max(height, width) // 2
        result = torch.zeros(height, width).double()
        for r in range(1, height + 1):
            for s in range(1, width + 1):
                m = n - max(abs(r - height // 2 - 1), abs(s - width // 2 - 1))
                result[r - 1, s - 1] = sum(1 / (n + 1 - k) ** 2 for k in range(m + 1))
        return result

    whole = torch.cat([half(h // 2, h), -half(h - h // 2, h)])
    whole = whole / whole.norm()
    return whole.T if transposed else whole


def sign(draw: float) -> int:
    return -1 if draw < 0.5 else 1


def window(draw: Tensor, image: Tensor, h: int) -> tuple[slice, slice]:
    r, s = (int(float(u) * (size - h + 1)) for u, size in zip(draw, image.shape[-2:], strict=True))
    return slice(r, r + h), slice(s, s + h)


def side(attacked: Problem, solver: Square, proposal: int) -> int:
    """By the table of the authors' code, for 10000 proposals."""
    i, halvings = int(proposal / solver.queries * 10000), 0
    for last in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        halvings += i > last
    height, width = attacked.images.shape[-2:]
    wanted = round(sqrt(solver.p_init / 2**halvings * height * width))
    if attacked.threat.norm == "linf":
        return max(1, min(wanted, height, width))
    wanted = max(wanted, 3)
    wanted += wanted % 2 == 0
    while wanted > min(height, width):
        wanted -= 2
    return wanted


def first(attacked: Problem, row: int) -> Tensor:
    image, eps = attacked.images[row], attacked.threat.eps
    channels, height, width = image.shape
    away = torch.zeros_like(image)
    if attacked.threat.norm == "linf":
        draws = attacked.uniform(channels * width, "first")[row].tolist()
        for c in range(channels):
            for x in range(width):
                away[c, :, x] = eps * sign(draws[c * width + x])
        return away
    h = max(1, min(height, width) // 5)
    down, across = height // h, width // h
    cells = attacked.uniform(down * across * (1 + channels), "first")[row].view(1 + channels, down, across)
    for i in range(down):
        for j in range(across):
            y, x = (height - down * h) // 2 + i * h, (width - across * h) // 2 + j * h
            for c in range(channels):
                tile = bump(h, bool(cells[0, i, j] < 0.5)) * sign(float(cells[1 + c, i, j]))
                away[c, y : y + h, x : x + h] = tile
    return eps * away / away.norm()


def proposed(attacked: Problem, away: Tensor, draws: Tensor, h: int) -> Tensor:
    eps, channels = attacked.threat.eps, len(away)
    here, there = window(draws[:2], away, h), window(draws[2:4], away, h)
    result = away.clone()
    if attacked.threat.norm == "linf":
        for c in range(channels):
            result[c][here] += 2 * eps * sign(float(draws[5 + c]))
        return result
    unused = max(0.0, eps**2 - float(away.norm()) ** 2)
    union = torch.zeros(away.shape[-2:])
    union[here] = union[there] = 1
    for c in range(channels):
        old = away[c][here]
        mixed = sign(float(draws[5 + c])) * bump(h, bool(draws[4] < 0.5))
        mixed = mixed + (old / old.norm() if float(old.norm()) else 0)
        available = sqrt(float((away[c] * union).norm()) ** 2 + unused / channels)
        result[c][there] = 0
        result[c][here] = mixed / mixed.norm() * available
    return result


def loop(solver: Square, attacked: Problem, row: int) -> Tensor:
    own = torch.tensor([row])
    ball, benign = attacked.ball.take(own), attacked.images[row]
    best = ball.project((benign + first(attacked, row))[None])
    lowest = float(attacked.values(best, own))
    for proposal in range(solver.queries - 1):
        draws = attacked.uniform(5 + len(benign), "proposal", proposal)[row]
        away = proposed(attacked, best[0] - benign, draws, side(attacked, solver, proposal))
        trial = ball.project((benign + away)[None])
        value = float(attacked.values(trial, own))
        if value < lowest:
            best, lowest = trial, value
    return best[0]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [COLOUR, (1, 4, 4), (2, 17, 20)])
def test_equals_a_loop(norm: Norm, shape: tuple[int, ...]) -> None:
    attacked = problem(norm, count=3, shape=shape, model=network(hidden=6, shape=shape))
    solver = Square(queries=60)
    found = solver.run(attacked)
    expected = torch.stack([loop(solver, attacked, row) for row in range(len(attacked))])
    assert torch.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (3, 1, 5)])
@pytest.mark.parametrize("norm", NORMS)
def test_images_smaller_than_a_window(norm: Norm, shape: tuple[int, ...]) -> None:
    attacked = problem(norm, eps=0.2, shape=shape, model=network(shape=shape))
    found = Square(queries=30).run(attacked)
    assert bool(found.isfinite().all())
    assert float(lengths(found - attacked.images, norm).max()) <= 0.2 + 1e-9


@pytest.mark.parametrize("side", [4, 6, 10, 5, 9])
def test_bumps_are_those_of_torchattacks(side: int) -> None:
    like = torch.zeros(1, dtype=torch.float64)
    found = bumps(side, like)
    assert torch.allclose(found, bump(side, False))
    attack = torchattacks.Square(torch.nn.Linear(1, 1))
    theirs = attack.eta(side).double()
    cosine = max(float((found * each).sum()) for each in (theirs, theirs.T))
    assert cosine == pytest.approx(1, abs=1e-6 if side % 2 == 0 else 0.02)  # theirs makes unequal halves equally long


def test_windows_shrink_as_published_for_every_budget() -> None:
    attacked = problem(shape=(1, 28, 28), model=network(shape=(1, 28, 28)))
    for queries in (10000, 1000, 100):
        solver = Square(queries=queries)
        sides = [solver.side(attacked, k) for k in range(queries - 1)]
        assert sides == [side(attacked, solver, k) for k in range(queries - 1)]
        assert sides == sorted(sides, reverse=True) and sides[0] == 25 and sides[-1] == 1


@pytest.mark.parametrize("norm", NORMS)
def test_keeps_the_lowest_value_seen_and_uses_the_whole_radius(norm: Norm) -> None:
    seen: list[Tensor] = []
    attacked = problem(norm, shape=COLOUR, model=network(shape=COLOUR))
    middle = replace(attacked, images=torch.full_like(attacked.images, 0.5))
    found = Square(queries=50).run(replace(middle, watch=lambda values, _: seen.append(values)))
    assert torch.equal(middle.values(found, middle.rows), torch.stack(seen).amin(0))
    assert torch.allclose(lengths(found - middle.images, norm), torch.tensor(middle.threat.eps).double())


@pytest.mark.parametrize("norm", NORMS)
def test_is_as_strong_as_that_of_torchattacks(norm: Norm) -> None:
    shape = (1, 10, 10)  # theirs wants sides that are multiples of 5
    plain = problem(norm, count=8, shape=shape, model=network(shape=shape))
    weights = torch.randn(5, generator=torch.Generator().manual_seed(0)).double()
    # Negative and the same for all rows: theirs attacks the images that are not misclassified yet.
    attacked = replace(plain, objective=lambda e, _: e @ weights - 10)

    class FarFromMisclassified(Logits):
        def forward(self, images: Tensor) -> Tensor:
            values = self._attacked.objective(self.model(images), self._attacked.rows)
            return torch.stack([values + 20, torch.zeros_like(values)], dim=1)

    attack = torchattacks.Square(
        FarFromMisclassified(attacked),
        norm={"linf": "Linf", "l2": "L2"}[norm],
        eps=attacked.threat.eps,
        n_queries=600,
        n_restarts=1,
        loss="margin",
    )
    torch.manual_seed(0)
    with torch.no_grad():
        attack.init_hyperparam(attacked.images)
        _, expected = attack.attack_single_run(attacked.images.clone(), classes(attacked))
        found = Square(queries=601).run(attacked)
    start, ours, other = (
        float(attacked.values(images, attacked.rows).mean()) for images in (attacked.images, found, expected)
    )
    assert start - ours > 0.9 * (start - other) > 0


@pytest.mark.parametrize(
    ("settings", "message"), [({"queries": 0}, "queries = 0"), ({"p_init": 0.0}, "p_init"), ({"p_init": 1.1}, "p_init")]
)
def test_settings_without_meaning_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(RbdmlError, match=message):
        Square(**settings)  # type: ignore[arg-type]
