from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from robustbench_dml.evaluation import BENIGN_COLUMNS, protocol_columns
from robustbench_dml.protocol import Evaluation, Threat
from robustbench_dml.records import Record
from robustbench_dml.report.tables import describe_evaluation, entries_table, millions, record_tables

COLUMNS = protocol_columns("ers")


def parse(table: str) -> list[dict[str, str]]:
    """The rows of a printed table by the names of its columns, which stand where the dashes are."""
    header, dashes, *rows = table.splitlines()
    spans = [match.span() for match in re.finditer("-+", dashes)]
    return [{header[start:end].strip(): row[start:end].strip() for start, end in spans} for row in rows]


def parts(text: str) -> tuple[str, list[dict[str, str]], list[dict[str, str]], str]:
    """The title, the two tables and the legend of what is shown of records."""
    title, cost, attacks, legend = text.split("\n\n")
    return title, parse(cost), parse(attacks), legend


def test_the_tables_name_every_column(make_record: Callable[..., Record]) -> None:
    _, cost, attacks, _ = parts(record_tables([make_record()], COLUMNS))
    assert list(attacks[0]) == ["defense", "seed", *COLUMNS, "ERS"]
    costs = ["passes", "iterations", "minutes", "cost eta+1", "metered"]
    assert list(cost[0]) == ["defense", "seed", *costs, *BENIGN_COLUMNS, "ERS", "flags"]


def test_the_cells_are_the_values_of_the_record(make_record: Callable[..., Record]) -> None:
    record = make_record("hm-lga-ics", 31.25, seed=7)
    _, [cost], [attacks], _ = parts(record_tables([record], COLUMNS))
    assert (cost["defense"], cost["seed"]) == (attacks["defense"], attacks["seed"]) == ("hm-lga-ics", "7")
    assert (cost["passes"], cost["iterations"], cost["minutes"]) == ("3M", "1234", "1.5")
    assert cost["cost eta+1"] == "33"
    assert float(cost["metered"]) == pytest.approx(21.25, abs=0.051)
    for name in BENIGN_COLUMNS:
        assert float(cost[name]) == pytest.approx(record.benign[name], abs=0.051)
    for name in COLUMNS:
        assert float(attacks[name]) == pytest.approx(record.attacked[name], abs=0.051)
    value, half = (float(part) for part in cost["ERS"].split("+-"))
    assert value == float(attacks["ERS"]) == pytest.approx(31.25, abs=0.051)
    assert half == 2.5  # of an interval from 2 below to 3 above


def test_cosines_and_distances_keep_three_decimals(make_record: Callable[..., Record]) -> None:
    _, _, [row], _ = parts(record_tables([make_record()], COLUMNS))
    decimals = {name: len(row[name].partition(".")[2]) for name in COLUMNS}
    assert decimals == {name: 3 if name in ("TMA", "ES:D") else 1 for name in COLUMNS}


def test_the_best_score_comes_first_in_both_tables(make_record: Callable[..., Record]) -> None:
    records = [make_record(ers=ers, seed=seed) for seed, ers in enumerate([20.0, 40.0, -3.0, 30.0])]
    _, cost, attacks, _ = parts(record_tables(records, COLUMNS))
    assert [row["seed"] for row in cost] == [row["seed"] for row in attacks] == ["1", "3", "0", "2"]


def test_one_run_is_pointed_out(make_record: Callable[..., Record]) -> None:
    records = [make_record(seed=seed) for seed in range(3)]
    _, cost, attacks, legend = parts(record_tables(records, COLUMNS, marked=records[1].digest))
    for table in (cost, attacks):
        assert [row["defense"] for row in table] == ["regular", "regular *", "regular"]
    assert "*: this run" in legend
    assert "*" not in record_tables(records, COLUMNS)


def test_a_collapsed_model_is_flagged(make_record: Callable[..., Record]) -> None:
    _, cost, _, _ = parts(record_tables([make_record(seed=1), make_record(ers=9.0, flags=("collapsed",))], COLUMNS))
    assert [row["flags"] for row in cost] == ["", "collapsed"]


def test_the_title_is_the_whole_protocol(make_record: Callable[..., Record]) -> None:
    evaluation = {"eps": 8 / 255, "alpha": 1 / 255, "steps": 5, "queries": 64}
    title, *_ = parts(record_tables([make_record(evaluation=evaluation)], COLUMNS))
    for part in ("fashion-mini", "c2f2", "protocol ers", "PGD-5", "eps 8/255", "alpha 1/255", "64 queries"):
        assert part in title


def test_no_number_of_queries_means_all() -> None:
    evaluation = Evaluation(protocol="ers", threat=Threat(eps=0.0, alpha=0.0, steps=0), queries=None, seed=0)
    assert "all queries" in describe_evaluation(evaluation)


def test_entries_are_shown_as_they_are() -> None:
    # What looks like a number is a name all the same: 1e3 must not become 1000.
    assert parse(entries_table([{"name": "1e3", "source": "arXiv:2203.01430"}])) == [
        {"name": "1e3", "source": "arXiv:2203.01430"}
    ]


@pytest.mark.parametrize(("passes", "text"), [(0, "0M"), (990_000, "0.99M"), (3_168_000, "3.17M"), (25e6, "25M")])
def test_passes_are_millions_of_three_digits(passes: float, text: str) -> None:
    assert millions(passes) == text
