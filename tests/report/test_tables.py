from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from robustbench_dml.report.rows import rows_of
from robustbench_dml.report.tables import cell, record_tables
from robustbench_dml.runs.queries import Values
from robustbench_dml.runs.record import Record
from robustbench_dml.spec.describe import describe_evaluation
from robustbench_dml.spec.protocols import BENIGN_COLUMNS, protocol_columns
from robustbench_dml.spec.schema import Evaluation, ExternalSpec, Threat
from robustbench_dml.spec.scores import CHANCE
from robustbench_dml.utils.terminal import text_table

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


def tables(records: list[Record], *, values: dict[str, Values] | None = None, marked: str | None = None) -> str:
    return record_tables(rows_of(records, values), COLUMNS, marked=marked)


def test_the_tables_name_every_column(make_record: Callable[..., Record]) -> None:
    _, cost, attacks, _ = parts(tables([make_record()]))
    assert list(attacks[0]) == ["rank", "defense", "seeds", *COLUMNS, "ERS"]
    costs = ["passes", "iterations", "minutes", "cost eta+1", "metered"]
    assert list(cost[0]) == ["rank", "defense", "seeds", "budget", *costs, *BENIGN_COLUMNS, "ERS", "flags"]


def test_the_cells_are_the_values_of_the_record(make_record: Callable[..., Record]) -> None:
    record = make_record("hm-lga-ics", 31.25, seed=7)
    _, [cost], [attacks], _ = parts(tables([record]))
    assert (cost["defense"], cost["seeds"]) == (attacks["defense"], attacks["seeds"]) == ("hm-lga-ics", "7")
    assert (cost["passes"], cost["iterations"], cost["minutes"]) == ("3M", "1234", "1.5")
    assert cost["cost eta+1"] == "33"
    assert float(cost["metered"]) == pytest.approx(21.25, abs=0.051)
    for name in BENIGN_COLUMNS:
        assert float(cost[name]) == pytest.approx(record.benign[name], abs=0.051)
    for name in COLUMNS:
        assert float(attacks[name]) == pytest.approx(record.attacked[name], abs=0.051)
    value, half = (float(part) for part in cost["ERS"].split("+-"))
    assert value == float(attacks["ERS"]) == pytest.approx(31.25, abs=0.051)
    assert half == 2.5  # as of the record's interval, from 2 below to 3 above


def test_cosines_and_distances_keep_three_decimals(make_record: Callable[..., Record]) -> None:
    _, _, [row], _ = parts(tables([make_record()]))
    decimals = {name: len(row[name].partition(".")[2]) for name in COLUMNS}
    assert decimals == {name: 3 if name in ("TMA", "ES:D") else 1 for name in COLUMNS}


def test_radii_keep_two_decimals() -> None:
    """A radius is often below one pixel value."""
    assert [cell(column, 0.4375) for column in ("MR", "MR:Q", "MR:C", "r50", "R@1:1")] == ["0.44"] * 4 + ["0.4"]


def test_the_best_score_comes_first_in_both_tables(make_record: Callable[..., Record]) -> None:
    records = [make_record(ers=ers, budget=f"{place + 1}M") for place, ers in enumerate([20.0, 40.0, -3.0, 30.0])]
    _, cost, attacks, _ = parts(tables(records))
    assert [row["budget"] for row in cost] == [f"{place}M passes" for place in (2, 4, 1, 3)]
    assert [row["ERS"] for row in attacks] == ["40.0", "30.0", "20.0", "-3.0"]


def test_ranks_or_why_there_are_none(make_record: Callable[..., Record]) -> None:
    levels = {"act": 40.0, "est": 20.0, "regular": 10.0}
    records = [make_record(name, ers + seed / 10, seed=seed) for name, ers in levels.items() for seed in range(3)]
    records += [make_record("madry", 99.0, flags=("no gradient",)), make_record("hm-s-m", 9.0)]
    for table in parts(tables(records))[1:3]:
        assert [(row["defense"], row["rank"]) for row in table] == [
            ("act", "1"),
            ("est", "2"),
            ("regular", "baseline"),
            ("hm-s-m", "provisional"),
            ("madry", "-"),
        ]
    flags = {row["defense"]: row["flags"] for row in parts(tables(records))[1]}
    assert (flags["act"], flags["hm-s-m"]) == ("", "not above regular")


def test_every_score_is_shown_with_its_interval(make_record: Callable[..., Record]) -> None:
    record = make_record()
    changes = {"scores": {**record.scores, "sERS": 12.34}, "intervals": {**record.intervals, "sERS": (11.0, 14.0)}}
    old = make_record(budget="1M")  # of a version that had one score
    _, cost, attacks, _ = parts(tables([record.model_copy(update=changes), old]))
    assert [row["sERS"] for row in cost] == ["12.3 +- 1.5", ""]
    assert [row["sERS"] for row in attacks] == ["12.3", ""]


def test_chance_is_in_the_title_and_no_column(make_record: Callable[..., Record]) -> None:
    record = make_record()
    assert "by chance" not in parts(tables([record]))[0]
    record = record.model_copy(update={"benign": {**record.benign, CHANCE: 12.5}})
    title, [cost], _, _ = parts(tables([record]))
    assert title.endswith("R@1 by chance 12%")
    assert CHANCE not in cost


def test_a_model_from_elsewhere_has_no_cost_and_no_seed(make_record: Callable[..., Record]) -> None:
    ours = make_record(ers=20.0)
    spec = ExternalSpec(
        dataset="glyphs-mini", model="my.py:net", source="0" * 64, weights="ab" * 32, evaluation=ours.spec.evaluation
    )
    theirs = make_record(ers=40.0).model_copy(
        update={"spec": spec, "digest": spec.digest, "cost": None, "training_end": None}
    )
    _, [cost, _], [attacks, _], _ = parts(tables([ours, theirs]))
    assert parts(tables([theirs]))[0].startswith("glyphs-mini, protocol ers")
    assert cost["defense"] == attacks["defense"] == "my.py:net@abababab"
    assert [cost[name] for name in ("seeds", "passes", "iterations", "minutes", "cost eta+1", "metered")] == ["-"] * 6
    assert cost["rank"] == "model"


def test_one_run_is_pointed_out(make_record: Callable[..., Record]) -> None:
    records = [make_record(name, 40.0 - seed, seed=seed) for name in ("act", "est") for seed in (0, 1)]
    _, cost, attacks, legend = parts(tables(records, marked=records[1].digest))
    for table in (cost, attacks):
        assert [(row["defense"], row["seeds"]) for row in table] == [("act *", "0, 1"), ("est", "0, 1")]
    assert "*: this run" in legend
    assert "*" not in tables(records)


def test_a_collapsed_model_is_flagged(make_record: Callable[..., Record]) -> None:
    _, cost, _, _ = parts(tables([make_record(budget="1M"), make_record(ers=9.0, flags=("collapsed",))]))
    assert [row["flags"] for row in cost] == ["", "collapsed"]


def test_the_title_is_the_whole_protocol(make_record: Callable[..., Record]) -> None:
    evaluation = {"eps": 8 / 255, "alpha": 1 / 255, "steps": 5, "queries": 64}
    title, *_ = parts(tables([make_record(evaluation=evaluation)]))
    for part in ("glyphs-mini", "c2f2", "protocol ers", "PGD-5", "eps 8/255", "alpha 1/255", "64 queries"):
        assert part in title


def test_no_number_of_queries_means_all() -> None:
    evaluation = Evaluation(protocol="ers", threat=Threat(eps=0.0, alpha=0.0, steps=0), queries=None, seed=0)
    assert "all queries" in describe_evaluation(evaluation)


def test_entries_are_shown_as_they_are() -> None:
    # What looks like a number is a name all the same: 1e3 must not become 1000.
    assert parse(text_table([{"name": "1e3", "source": "arXiv:2203.01430"}])) == [
        {"name": "1e3", "source": "arXiv:2203.01430"}
    ]
