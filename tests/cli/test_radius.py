"""The protocol `radius`, from the command line to records, tables, plots and comparisons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cli_support import PLOTS, RUN, Made, files_below, nothing_below, rbdml, refusal

from robustbench_dml.leaderboard.submission.recompute import value_problems
from robustbench_dml.runs.record import Record, find_records, read_queries
from robustbench_dml.spec.make import changed_evaluation, published_evaluation
from robustbench_dml.spec.protocols import evaluated_columns, median_columns
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.statistics import bootstrap_interval, median_above_zero

QUICK = ("--solver-param", "steps=3", "--solver-param", "rounds=1", "--solver-param", "square_queries=3")
PROTOCOL = ("--protocol", "radius", *QUICK)
COLUMNS = ["MR:Q", "MR:C", "r50", "R@1:4", "R@1:8", "R@1:16"]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two seeds under the protocol."""
    out = tmp_path_factory.mktemp("radius")
    for seed in ("0", "1"):
        answer = rbdml(*RUN, *PROTOCOL, "--seed", seed, "--out", out)
        assert answer.code == 0, answer.err
        assert "MR:Q" in answer.out and "r50" in answer.out and "R@1:16" in answer.out
    return out


def folders(out: Path) -> list[Path]:
    return [out / "glyphs-mini" / record.digest for record in find_records(out)]


def test_a_record_has_every_column_with_its_interval_and_values_per_query(out: Path) -> None:
    for record, folder in zip(find_records(out), folders(out), strict=True):
        values = read_queries(folder)
        assert list(record.attacked) == COLUMNS and list(record.scores) == ["MR"]
        assert record.scores["MR"] == record.attacked["MR:Q"] == pytest.approx(255 * values["MR:Q"].mean())
        assert record.attacked["r50"] == pytest.approx(255 * float(median_above_zero(values["MR:Q"])[0]))
        for radius in (4, 8, 16):
            assert record.attacked[f"R@1:{radius}"] == pytest.approx(100 * (values["MR:Q"] > radius / 255).mean())
        low, high = record.intervals["r50"]
        assert low <= record.attacked["r50"] <= high
        assert {"MR:Q stage", "MR:C stage"} <= set(values)
        assert not list(value_problems(record, values, None))


def test_altered_medians_and_radii_are_seen(out: Path) -> None:
    [record, _], [folder, _] = find_records(out), folders(out)
    values = read_queries(folder)
    higher = record.model_copy(update={"attacked": {**record.attacked, "r50": record.attacked["r50"] + 1}})
    assert [problem for problem in value_problems(higher, values, None) if problem.startswith("r50 is")]
    beyond = {**values, "MR:Q": np.full_like(values["MR:Q"], 0.31)}
    assert any("outside of 0 to 0.30" in problem for problem in value_problems(record, beyond, None))


def test_plots_and_comparisons_are_made(out: Path, tmp_path: Path) -> None:
    plots = {name for name in PLOTS if not name.startswith("profile")}  # radii have none
    assert {path.name for path in files_below(out)} & set(PLOTS) == plots
    answer = rbdml("compare", *folders(out))
    assert answer.code == 0, answer.err
    first = [line.split()[0] for line in answer.out.splitlines() if line]
    assert "MR" in first and "R@1:8" in first and "r50" not in first


def test_a_checkpoint_is_evaluated_in_another_norm_with_the_radii_of_its_family(made: Made, tmp_path: Path) -> None:
    words = ("--attack-norm", "l2", "--queries", "4", "--device", "cpu", "--json", "--out", tmp_path)
    answer = rbdml("evaluate", made.checkpoint, *PROTOCOL, *words)
    assert answer.code == 0, answer.err
    record = Record.model_validate_json(answer.out)
    assert record.spec.evaluation.threat.norm == "l2" and record.spec.evaluation.threat.eps == 4
    assert list(record.attacked)[-3:] == ["R@1:128", "R@1:255", "R@1:510"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--attack-eps", "3/255"), "the largest radius, 3/255, is below the smallest named one, 4/255"),
        (("--attack-eps", "0"), "the largest radius, 0/255, is below"),
        (("--attack-eps", "nan"), "attack eps = nan"),
        (("--solver-param", "named=0,4"), "named = '0,4'"),
        (("--solver-param", "named=-4"), "named = '-4'"),
        (("--solver-param", "named=nan"), "named = 'nan'"),
        (("--solver-param", "finest=0"), "finest = 0.0"),
        (("--solver-param", "finest=nan"), "parameter 'finest' cannot be 'nan'"),
        (("--solver", "pgd"), "searches with 'minimal-radius' alone"),
    ],
)
def test_bad_radii_are_refused_in_one_line(made: Made, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    out = tmp_path / "out"
    assert message in refusal(rbdml("evaluate", made.checkpoint, "--protocol", "radius", *words, "--out", out))
    assert nothing_below(out)


def test_an_attack_for_a_radius_belongs_to_its_protocol() -> None:
    with pytest.raises(RbdmlError, match="use --protocol radius"):
        changed_evaluation(published_evaluation("fashion"), {"extra_attacks": ["radius-query"]})


def test_radii_are_those_of_the_family_unless_given() -> None:
    cub = changed_evaluation(published_evaluation("cub"), {"protocol": "radius"}, dataset="cub")
    assert cub.threat.eps == 32 / 255
    assert list(evaluated_columns(cub)) == ["MR:Q", "MR:C", "r50", "R@1:1", "R@1:2", "R@1:4"]
    assert median_columns(cub) == ["r50"]
    changes = {"protocol": "radius", "eps": 16 / 255, "solver_params": {"named": "2,16,20"}}
    given = changed_evaluation(published_evaluation("fashion"), changes, dataset="fashion")
    assert list(evaluated_columns(given))[3:] == ["R@1:2", "R@1:16"]


def test_the_interval_of_a_median_is_that_of_resampled_medians() -> None:
    values = np.concatenate([np.zeros(20), np.random.default_rng(0).exponential(size=101)])
    assert float(median_above_zero(values)[0]) == np.median(values[20:])
    assert median_above_zero(np.array([0.0, 3, 1])).tolist() == [2] and median_above_zero(np.zeros(3)).tolist() == [0]
    counts = np.random.default_rng(1).multinomial(121, np.full(121, 1 / 121), size=50)
    naive = [np.median(np.repeat(values, count)[np.repeat(values, count) > 0]) for count in counts]
    assert np.allclose(median_above_zero(values, counts), naive)
    found = bootstrap_interval({"r": values, "m": values}, lambda means: means, seed=0, medians=["r"])
    assert found["r"][0] < np.median(values[20:]) < found["r"][1] and found["m"] != found["r"]
