from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_support import random_values, with_values, write_both

from robustbench_dml.report.grouping import comparable_records, groups_of_records
from robustbench_dml.report.run_report import plot_all, show
from robustbench_dml.runs.record import Record
from robustbench_dml.utils.errors import RbdmlError

PLOTS = {f"{name}.{kind}" for name in ("overview", "efficiency", "tradeoff", "profile") for kind in ("png", "svg")}

COMPARABLE: list[dict[str, Any]] = [
    {"defense": "hm-lga-ics"},
    {"seed": 1},
    {"budget": "standard"},
    {"params": {"sampler": "S"}},
    {"training": {"eps": 8 / 255, "pairs": 64}},
    {"files": {"test": "2" * 64, "train": "1" * 64}},  # the same files in another order
]
NOT_COMPARABLE: list[dict[str, Any]] = [
    {"files": {"train": "1" * 64, "test": "f" * 64}},
    {"in_spec": {"dataset": "fashion"}},
    {"in_spec": {"backbone": "other"}},
    {"evaluation": {"queries": 64}},
    {"evaluation": {"eps": 8 / 255}},
    {"evaluation": {"alpha": 1 / 255}},
    {"evaluation": {"steps": 1}},
    {"evaluation": {"seed": 1}},
]


def changed(change: dict[str, Any]) -> str:
    return ",".join(map(str, change.items()))


@pytest.mark.parametrize("change", COMPARABLE, ids=changed)
def test_other_trainings_stand_in_one_table(
    make_record: Callable[..., Record], save: Callable[..., Path], change: dict[str, Any]
) -> None:
    record, other = make_record(seed=5), make_record(**{"ers": 40.0, **change})
    folder = save(record, other)
    assert sorted(found.primary_score for found in comparable_records(record, folder)[0]) == [30.0, 40.0]
    assert [len(group) for group in groups_of_records(folder)[0]] == [2]


@pytest.mark.parametrize("change", NOT_COMPARABLE, ids=changed)
def test_other_data_backbones_and_evaluations_do_not(
    make_record: Callable[..., Record], save: Callable[..., Path], change: dict[str, Any]
) -> None:
    record, other = make_record(seed=5), make_record(**change)
    folder = save(record, other)
    assert comparable_records(record, folder)[0] == [record]
    assert comparable_records(other, folder)[0] == [other]
    assert sorted(len(group) for group in groups_of_records(folder)[0]) == [1, 1]


def test_fakes_stand_in_no_table_but_their_own(make_record: Callable[..., Record], save: Callable[..., Path]) -> None:
    honest, fake = make_record(), make_record("fake-constant")
    folder = save(honest, fake)
    assert comparable_records(honest, folder)[0] == [honest]
    assert {record.digest for record in comparable_records(fake, folder)[0]} == {honest.digest, fake.digest}
    assert groups_of_records(folder)[0] == [[honest]]


def test_the_groups_hold_every_record_once(make_record: Callable[..., Record], save: Callable[..., Path]) -> None:
    records = [make_record(seed=seed, evaluation={"steps": steps}) for seed in range(3) for steps in (1, 2)]
    groups, _ = groups_of_records(save(*records))
    assert sorted(record.digest for group in groups for record in group) == sorted(one.digest for one in records)
    assert sorted({record.spec.evaluation.threat.steps for record in group}.pop() for group in groups) == [1, 2]


def test_the_tables_show_every_record(make_record: Callable[..., Record]) -> None:
    records = [make_record(), make_record("hm-lga-ics")]
    text = show(records, marked=records[1].digest)
    # In the table of costs and in that of attacks, behind the reason for no rank.
    assert re.findall(r"^(\S+) +regular ", text, re.MULTILINE) == ["baseline"] * 2
    assert re.findall(r"^(\S+) +hm-lga-ics \* ", text, re.MULTILINE) == ["provisional"] * 2


def test_ranks_use_the_per_query_values_of_the_records(make_record: Callable[..., Record], tmp_path: Path) -> None:
    """Two defenses of three seeds that differ alike on every query: their intervals overlap, and one is better."""
    values = random_values(40, seed=0)
    lower = {**values, **{name: values[name] * 0.9 for name in ("ES:R", "LTM", "GTM", "GTT")}}
    wide = {"ERS": (0.0, 100.0)}
    records = []
    for defense, own in (("hm-lga-ics", values), ("act", lower)):
        for seed in range(3):
            one = with_values(make_record(defense, seed=seed), own)
            one = one.model_copy(update={"intervals": {**one.intervals, **wide}})
            records.append(write_both(tmp_path, one, own))

    def ranks(text: str) -> list[tuple[str, str]]:
        return re.findall(r"^(\S+) +(hm-lga-ics|act) ", text, re.MULTILINE)

    assert ranks(show(records, folder=tmp_path)) == [("1", "hm-lga-ics"), ("2", "act")] * 2
    assert ranks(show(records)) == [("1", "hm-lga-ics"), ("1", "act")] * 2


def test_the_plots_of_one_group_go_into_the_folder_itself(
    tmp_path: Path, make_record: Callable[..., Record], save: Callable[..., Path]
) -> None:
    out = tmp_path / "made" / "plots"
    paths, _ = plot_all(save(make_record(), make_record(seed=1)), out)
    assert {path.name for path in paths} == {path.name for path in out.iterdir()} == PLOTS


def test_the_plots_of_several_groups_go_into_folders_of_their_own(
    tmp_path: Path, make_record: Callable[..., Record], save: Callable[..., Path]
) -> None:
    paths, _ = plot_all(save(make_record(), make_record(evaluation={"steps": 1})), tmp_path / "plots")
    folders = list((tmp_path / "plots").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("glyphs-mini-") for folder in folders)
    assert set(paths) == {folder / name for folder in folders for name in PLOTS}
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_records_is_an_error(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "none"
    if exists:
        folder.mkdir()
    with pytest.raises(RbdmlError, match=r"no records below .*none.*rbdml run"):
        plot_all(folder, tmp_path / "plots")
    assert not (tmp_path / "plots").exists()


def test_plots_that_cannot_be_written_are_an_error(
    tmp_path: Path, make_record: Callable[..., Record], save: Callable[..., Path]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RbdmlError, match=r"cannot write figures.*--out"):
        plot_all(save(make_record()), tmp_path / "file" / "plots")
