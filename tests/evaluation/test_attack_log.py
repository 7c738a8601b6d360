"""The attacks of an evaluation in its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from robustbench_dml.evaluation import attack_log as attacks
from robustbench_dml.evaluation.attack_cache import CACHE_FILE
from robustbench_dml.evaluation.attack_log import LoggedCache
from robustbench_dml.utils.runlog import RunLog, read_log

FIRST, SECOND = torch.arange(3), torch.arange(3, 5)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time of the clock, set by a test."""
    now = [0.0]
    monkeypatch.setattr(attacks, "monotonic", lambda: now[0])
    return now


def cache_in(folder: Path) -> LoggedCache:
    return LoggedCache(RunLog(folder), folder / CACHE_FILE, of="this", every=1e9)


def events(folder: Path) -> list[dict[str, Any]]:
    return [{name: value for name, value in event.items() if name != "time"} for event in read_log(folder)]


def test_an_attack_has_its_time_and_the_mean_over_all_blocks(tmp_path: Path, clock: list[float]) -> None:
    with cache_in(tmp_path) as cache:
        for rows, values in ((FIRST, [0.1, 0.2, 0.3]), (SECOND, [0.4, 0.5])):
            for name, seconds in (("ca+", 1.0), ("es", 0.5)):
                assert cache.get(name, rows) is None
                clock[0] += seconds
                shown = {"CA+": torch.tensor(values)} if name == "ca+" else dict.fromkeys(("ES:D", "ES:R"), rows / 4)
                cache.add(name, rows, {**shown, "kept beside": torch.zeros(len(rows))})
                clock[0] += 0.25  # not of an attack
    first, second = events(tmp_path)
    assert first.pop("values") == {"CA+": pytest.approx(30.0)}
    assert second.pop("values") == {"ES:D": 0.5, "ES:R": 50.0}
    assert first == {"event": "attack", "attack": "ca+", "queries": 5, "known_before": 0, "seconds": 2.0}
    assert second == {"event": "attack", "attack": "es", "queries": 5, "known_before": 0, "seconds": 1.0}


def test_cached_values_count_for_the_mean_and_not_for_the_time(tmp_path: Path, clock: list[float]) -> None:
    with pytest.raises(KeyboardInterrupt), cache_in(tmp_path) as cache:
        cache.add("ca+", FIRST, {"CA+": torch.tensor([0.1, 0.2, 0.3])})
        raise KeyboardInterrupt
    assert events(tmp_path) == []  # the attack is not done
    with cache_in(tmp_path) as cache:
        assert cache.get("ca+", FIRST) is not None
        assert cache.get("ca+", SECOND) is None
        clock[0] += 2.0
        cache.add("ca+", SECOND, {"CA+": torch.tensor([0.4, 0.5])})
    [told] = events(tmp_path)
    assert (told["queries"], told["known_before"], told["seconds"]) == (5, 3, 2.0)
    assert told["values"] == {"CA+": pytest.approx(30.0)}


def test_a_long_evaluation_logs_its_progress(tmp_path: Path, clock: list[float]) -> None:
    with cache_in(tmp_path) as cache:
        for second in range(12):
            cache.get("ca+", rows := torch.tensor([second]))
            clock[0] += 1.0
            cache.add("ca+", rows, {"CA+": torch.zeros(1)})
    assert [(event["event"], event["queries"]) for event in events(tmp_path)] == [
        ("attacking", 5),
        ("attacking", 10),
        ("attack", 12),
    ]
