"""Ours beside the published rows, against pandas on the files themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from cli_support import rbdml, refusal

from robustbench_dml.report.published import NAMES
from robustbench_dml.report.vs_published import NOTABLE, match_published, matches_data, matches_text
from robustbench_dml.runs.record import Record, write_record
from robustbench_dml.utils.errors import RbdmlError

PUBLISHED = Path(__file__).parents[2] / "leaderboards" / "published" / "published.csv"
FASHION = {"dataset": "fashion"}
Make = Callable[..., Record]


@pytest.fixture
def folder(tmp_path: Path, make_record: Make) -> Path:
    """Two seeds of ACT[R] at eta 32, which two sources print; one of HM that none prints, one of another data set."""
    for record in (
        make_record("act", 60.0, in_spec={**FASHION, "seed": 0}),
        make_record("act", 62.0, in_spec={**FASHION, "seed": 1}),
        make_record("hm-s-m", 50.0, in_spec=FASHION),
        make_record("act", 61.0),
    ):
        keep(record, tmp_path)
    return tmp_path


def keep(record: Record, folder: Path) -> None:
    place = folder / record.digest
    place.mkdir()
    write_record(place, record)


def published_act() -> list[pd.Series]:
    """Of two sources: one with all columns, one with the benign scores and ERS alone."""
    table = pd.read_csv(PUBLISHED)
    rows = table[(table["dataset"] == "fashion") & (table["defense"] == "ACT[R]")]
    assert [row[list(NAMES)].isna().sum() for _, row in rows.iterrows()] == [0, 10]
    return [row for _, row in rows.iterrows()]


def test_the_mean_of_the_seeds_minus_the_published_values(folder: Path, make_record: Make) -> None:
    found, damaged = match_published(folder)
    assert damaged == []
    records = [make_record("act", ers, in_spec={**FASHION, "seed": seed}) for seed, ers in ((0, 60.0), (1, 62.0))]
    for one, theirs in zip(found, published_act(), strict=True):
        assert one.row.seeds == (0, 1)
        printed = {name: theirs[column] for column, name in NAMES.items() if not pd.isna(theirs[column])}
        assert set(one.difference) == set(printed)
        for name, value in printed.items():
            ours = sum(record.values[name] for record in records) / 2
            assert one.difference[name] == pytest.approx(ours - value)
        large = {name for name, limit in NOTABLE.items() if abs(one.difference[name]) > limit}
        assert set(one.notable) == large
    assert [set(one.notable) for one in found] == [{"R@1"}, {"R@1", "ERS"}]


def test_the_text_shows_all_values_sources_and_notable_differences(folder: Path) -> None:
    found, _ = match_published(folder)
    text = matches_text(found)
    lines = [line for line in text.splitlines() if line.startswith("ACT[R]  ")]
    assert "fashion, c2f2, protocol ers" in text
    for place, (theirs, line) in enumerate(zip(published_act(), lines, strict=True), 1):
        assert f"reported [{place}]" in line and f"[{place}] {theirs['source']}" in text.splitlines()
        for column in NAMES:
            assert pd.isna(theirs[column]) or f"{theirs[column]:g}" in line
        assert f"ACT[R], eta 32 [{place}]: R@1 differs by {50 - theirs['r_at_1']:+.1f}" in text
    assert "Differences of more than 2 of R@1 or 5 of ERS: 3" in text
    theirs, _ = published_act()
    data, other = matches_data(found)
    assert (data["source"], other["source"]) == tuple(one["source"] for one in published_act())
    assert data["columns"]["ERS"] == {
        "reported": theirs["ers"],
        "ours": 61.0,
        "interval": found[0].row.intervals["ERS"],
        "seeds": (60.0, 62.0),
        "difference": pytest.approx(61.0 - theirs["ers"]),
    }


def test_an_explicit_weight_matches_its_own_published_row(tmp_path: Path, make_record: Make) -> None:
    """On SOP the published weight of ICS is 0.05, and rows with 0.5 stand beside them."""
    sop = {"dataset": "sop", "backbone": "resnet18"}
    params = dict(make_record("hm-lga-ics").spec.params)
    for weight, ers in ((0.05, 60.0), (0.5, 50.0)):
        record = make_record("hm-lga-ics", ers, in_spec={**sop, "params": {**params, "ics": weight}})
        keep(record, tmp_path)
    found, _ = match_published(tmp_path)
    assert {one.row.values["ERS"]: (one.reported.defense, one.reported.values["ERS"]) for one in found} == {
        60.0: ("HM[S,g_LGA]&ICS", 61.6),
        50.0: ("HM[S,g_LGA]&ICS (\u03bb=0.5)", 60.8),
    }


def test_records_without_a_published_row_are_refused(tmp_path: Path, make_record: Make) -> None:
    record = make_record("act", in_spec=FASHION)
    cost = record.cost.model_copy(update={"nominal_per_iteration": 9}) if record.cost else None
    keep(record.model_copy(update={"cost": cost}), tmp_path)
    with pytest.raises(RbdmlError, match="no record of a data set, backbone, defense and eta with a published row"):
        match_published(tmp_path)


def test_the_command(folder: Path) -> None:
    answer = rbdml("compare", folder, "--published", "--json")
    assert (answer.code, answer.err) == (0, "")
    assert [one["defense"] for one in json.loads(answer.out)] == ["ACT[R]", "ACT[R]"]


@pytest.mark.parametrize("arguments", [["A"], ["A", "B", "--published"]])
def test_two_records_or_one_folder(arguments: list[str]) -> None:
    assert "give two records, A and B, or --published with one folder" in refusal(rbdml("compare", *arguments))
