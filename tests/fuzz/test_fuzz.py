"""Every target on its seeds and on edits by hypothesis: input is accepted, or refused in one line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fuzz.all import targets
from fuzz.edits import POOL, edited, spliced
from fuzz.target import Target, judge
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from robustbench_dml.utils.errors import RbdmlError

NAMES = [
    *("defense", "budget", "seconds", "settings", "sweep", "published"),
    *("record", "entry", "queries", "tables", "compared", "board", "audit"),
    *("idx", "idx-gz", "cub", "sop", "cars", "archive", "image", "safetensors", "checkpoint", "state"),
]
FEW = {"cars": 3, "checkpoint": 10, "board": 15, "audit": 15}  # examples of those that take long
SLOW = 25
EDITS = ("tables", "compared", "board", "audit", "checkpoint")  # their input says what to change, and is no file itself


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return targets(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(autouse=True)
def bare(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))
    monkeypatch.setenv("RBDML_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("RBDML_DATA", raising=False)


def judged(target: Target, data: bytes) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        return judge(target, data, Path(folder))


def test_all_targets_are_here(known: dict[str, Target]) -> None:
    assert list(known) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_is_taken(known: dict[str, Target], name: str) -> None:
    refused = judged(known[name], known[name].seeds[0])
    assert refused is None or name == "idx-gz"  # whose content must be the published one


@pytest.mark.parametrize("name", NAMES)
def test_any_input_is_accepted_or_refused_in_one_line(known: dict[str, Target], name: str) -> None:
    target = known[name]

    @settings(
        max_examples=FEW.get(name, SLOW),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(seed=st.sampled_from(target.seeds), data=st.binary(max_size=24))
    @example(seed=target.seeds[0], data=b"")
    def check(seed: bytes, data: bytes) -> None:
        judged(target, data if name in EDITS else spliced(seed, data))

    check()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "cars"])
def test_noise_is_taken_or_refused_in_a_line(known: dict[str, Target], name: str) -> None:
    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(st.binary(max_size=200))
    def check(data: bytes) -> None:
        judged(known[name], data)

    check()


@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@settings(derandomize=True)
def test_no_edits_change_nothing_and_the_original_stays(tree: object) -> None:
    before = repr(tree)
    assert edited(tree, b"") == tree
    edited(tree, bytes(range(24)))
    assert repr(tree) == before


def test_every_edit_can_be_reached() -> None:
    found = {repr(edited({"a": 0}, bytes([0, 0, 3, value]))) for value in range(len(POOL))}
    assert found == {repr({"a": value}) for value in POOL}
    assert edited({"a": 0}, bytes(4)) == {}


def test_the_judge_lets_nothing_but_a_refusal_pass(tmp_path: Path) -> None:
    def refuse(_: bytes, folder: Path) -> None:
        raise RbdmlError("no")

    def fail(_: bytes, folder: Path) -> None:
        raise KeyError("no")

    assert judge(Target("refuse", refuse, ()), b"", tmp_path) == "no"
    assert judge(Target("take", lambda *_: None, ()), b"", tmp_path) is None
    with pytest.raises(KeyError):
        judge(Target("fail", fail, ()), b"", tmp_path)
