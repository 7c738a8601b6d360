"""Cached values are used again by the same evaluation only."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from robustbench_dml.evaluation.attack_cache import CACHE_FILE, AttackCache
from robustbench_dml.utils.tensors import read_tensors, write_tensors

ROWS = torch.tensor([3, 5, 8])
VALUES = {"CA+": torch.tensor([0.1, 0.2, 0.3]), "loss": torch.tensor([1.0, 2.0, 3.0])}


def written(path: Path) -> AttackCache:
    cache = AttackCache(path, of="this", every=1e9)
    cache.add("ca+", ROWS, VALUES)
    cache.add("ca+w2", ROWS, {"CA+w2": torch.zeros(3)})
    cache.write()
    return cache


def test_values_come_back_bit_for_bit(tmp_path: Path) -> None:
    written(tmp_path / CACHE_FILE)
    again = AttackCache(tmp_path / CACHE_FILE, of="this")
    found = again.get("ca+", ROWS)
    assert found is not None and set(found) == set(VALUES)
    assert all(torch.equal(found[name], VALUES[name]) for name in VALUES)
    assert again.get("ca-", ROWS) is None and again.get("ca+", ROWS[:2]) is None


def test_another_evaluation_takes_nothing_up(tmp_path: Path) -> None:
    written(tmp_path / CACHE_FILE)
    assert AttackCache(tmp_path / CACHE_FILE, of="another").get("ca+", ROWS) is None


def test_a_torn_or_rotten_file_is_as_good_as_none(tmp_path: Path) -> None:
    path = tmp_path / CACHE_FILE
    written(path)
    content = path.read_bytes()
    path.write_bytes(content[:-3])
    assert AttackCache(path, of="this").get("ca+", ROWS) is None
    path.write_bytes(content)
    tensors, state = read_tensors(path)
    write_tensors(path, {name: one + 1 for name, one in tensors.items()}, state)
    assert AttackCache(path, of="this").get("ca+", ROWS) is None


def test_a_cache_without_a_file_remembers() -> None:
    cache = AttackCache()
    cache.add("ca+", ROWS, VALUES)
    cache.write()
    assert cache.get("ca+", ROWS) is not None


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ValueError])
def test_it_is_written_however_the_work_ends(tmp_path: Path, error: type[BaseException] | None) -> None:
    path = tmp_path / CACHE_FILE
    with suppress(KeyboardInterrupt, ValueError), AttackCache(path, of="this", every=1e9) as cache:
        cache.add("ca+", ROWS, VALUES)
        if error is not None:
            raise error
    assert AttackCache(path, of="this").get("ca+", ROWS) is not None


def test_unchanged_values_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / CACHE_FILE
    written(path)
    before = path.stat().st_ino
    with AttackCache(path, of="this") as cache:
        assert cache.get("ca+", ROWS) is not None
    assert path.stat().st_ino == before


def test_it_is_written_as_often_as_asked(tmp_path: Path) -> None:
    path = tmp_path / CACHE_FILE
    seldom = AttackCache(path, every=1e9)
    seldom.add("ca+", ROWS, VALUES)
    assert not path.exists()
    AttackCache(path, every=-1).add("ca+", ROWS, VALUES)
    assert path.exists()
