from __future__ import annotations

import itertools
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_dml.runs.sweeps import matrix
from robustbench_dml.runs.sweeps.matrix import MAX_BYTES, OF_A_RUN, OF_THE_SWEEP, multiply_out, parse, read_file
from robustbench_dml.runs.sweeps.plan import plan_tree
from robustbench_dml.utils.errors import RbdmlError


def runs_of(text: str, **instead: Any) -> list[dict[str, Any]]:
    return [given for _, given in multiply_out(parse(text.encode(), "f.toml"), source="f.toml", instead=instead).runs]


def test_lists_are_multiplied_out_the_last_one_fastest() -> None:
    found = runs_of('dataset = "glyphs-mini"\ndefense = ["regular", "act"]\nseed = [0, 1, 2]\neta = [8, 16]')
    assert found == [
        {"dataset": "glyphs-mini", "defense": defense, "seed": seed, "eta": eta}
        for defense, seed, eta in itertools.product(["regular", "act"], [0, 1, 2], [8, 16])
    ]


def test_the_mark_of_a_windows_editor_is_ignored() -> None:
    assert parse(b"\xef\xbb\xbf" + b"seed = 1", "f.toml") == {"seed": 1}


def test_every_block_is_a_matrix_with_the_shared_settings() -> None:
    text = """
    dataset = "glyphs-mini"
    seed = [0, 1]
    [[runs]]
    defense = "regular"
    [[runs]]
    defense = ["act", "est"]
    seed = 5
    """
    assert runs_of(text) == [
        {"dataset": "glyphs-mini", "seed": 0, "defense": "regular"},
        {"dataset": "glyphs-mini", "seed": 1, "defense": "regular"},
        {"dataset": "glyphs-mini", "seed": 5, "defense": "act"},
        {"dataset": "glyphs-mini", "seed": 5, "defense": "est"},
    ]


def test_tables_are_matrices_too_and_are_merged_by_name() -> None:
    text = """
    param = {ics = [0.25, 0.5], sampler = "S"}
    [[runs]]
    param = {u = 1}
    [[runs]]
    param.ics = 1
    """
    assert [one["param"] for one in runs_of(text)] == [
        {"ics": 0.25, "sampler": "S", "u": 1},
        {"ics": 0.5, "sampler": "S", "u": 1},
        {"ics": 1, "sampler": "S"},
    ]


def test_a_list_of_attacks_is_one_value_and_lists_of_them_are_several() -> None:
    assert runs_of('extra-attack = ["ca+w2", "ca-w2"]') == [{"extra-attack": ["ca+w2", "ca-w2"]}]
    assert runs_of('extra-attack = [["ca+w2"], []]') == [{"extra-attack": ["ca+w2"]}, {"extra-attack": []}]


def test_queries_are_numbers_or_all() -> None:
    assert runs_of('queries = [8, "all"]') == [{"queries": 8}, {"queries": "all"}]
    with pytest.raises(RbdmlError, match="queries = 'some'"):
        runs_of('queries = "some"')


def test_excluded_combinations_are_left_out_wherever_all_that_is_named_agrees() -> None:
    text = """
    exclude = [{seed = [1, 2], eta = 16}]
    seed = [0, 1, 2]
    [[runs]]
    eta = [8, 16]
    [[runs]]
    eta = 16
    param = {ics = [0, 1]}
    exclude = [{param = {ics = 1}}]
    """
    every = [{"seed": seed, "eta": eta} for seed, eta in itertools.product([0, 1, 2], [8, 16])]
    first = [one for one in every if not (one["seed"] > 0 and one["eta"] == 16)]
    assert runs_of(text) == [*first, {"seed": 0, "eta": 16, "param": {"ics": 0}}]


def test_options_replace_the_values_of_every_block() -> None:
    text = "seed = 0\n[[runs]]\neta = 8\n[[runs]]\neta = 16\nseed = 3"
    assert runs_of(text, seed=[7, 8]) == [{"seed": seed, "eta": eta} for eta in (8, 16) for seed in (7, 8)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[runs]]\nsede = 1", "f.toml: runs 1: unknown key 'sede': did you mean 'seed'?"),
        ("device = 'cpu'\n[[runs]]\nseed = 1\n[[runs]]\nout = 'x'", "runs 2: 'out' is of the whole sweep"),
        ("seed = []", "seed: an empty list"),
        ("seed = [[1]]", "seed = [1]: input should be a valid integer"),
        ("seed = 2020-01-01", "seed = datetime.date"),
        ("seed = 99999999999999999999", "a number beyond 64 bits"),
        ("lr = nan", "lr = nan"),
        ('defense = "a\\nb"', "text should print on one line"),
        ("param = 3", "param = 3: write a table"),
        ("param = {a = {b = 1}}", "param.a = {'b': 1}"),
        ("extra-attack = 'ca+'", "extra-attack = 'ca+': input should be a valid list"),
        ("[runs]\nseed = 1", "write [[runs]], with two brackets"),
        ("exclude = {seed = 1}", "exclude is no list of tables"),
        ("exclude = [{sede = 1}]", "exclude: unknown key 'sede'"),
        ("seed = 1 2", "f.toml: not TOML: "),
        ("a = " + 4000 * "[", "nested too deeply"),
        ("\xff", "not TOML"),
    ],
)
def test_impossible_matrices_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(RbdmlError) as refused:
        multiply_out(parse(text.encode("latin-1"), "f.toml"), source="f.toml")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_matrix_has_at_most_ten_thousand_runs() -> None:
    thousands = {"seed": list(range(100)), "eta": list(range(100))}
    assert len(multiply_out(thousands, source="f").runs) == 10_000
    with pytest.raises(RbdmlError, match="more than 10000 runs"):
        multiply_out({**thousands, "runs": [{}, {"eta": 1, "seed": 1}]}, source="f")
    huge = {name: list(range(10_000)) for name in ("seed", "eta", "pairs", "queries")}  # counted without being made
    with pytest.raises(RbdmlError, match="more than 10000 runs"):
        multiply_out(huge, source="f")


def test_a_file_that_cannot_be_read_or_is_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    for path, message in (
        (tmp_path / "none.toml", "cannot be read"),
        (tmp_path, "cannot be read"),
        (large, "larger than"),
    ):
        with pytest.raises(RbdmlError, match=message):
            read_file(path)


def test_former_names_of_settings_are_accepted() -> None:
    assert runs_of('set = {ics = 1}\nalso = ["ca+w2"]\noptimiser = "apgd"\nsearch = {restarts = 2}') == [
        {"param": {"ics": 1}, "extra-attack": ["ca+w2"], "solver": "apgd", "solver-param": {"restarts": 2}}
    ]


NAMES = [*OF_A_RUN, *OF_THE_SWEEP, "runs", "exclude", "sede", ""]
SCALARS = (
    st.text(max_size=8)
    | st.sampled_from(
        ["regular", "act", "HM[S,M]", "glyphs-mini", "8/255", "20k", "linf", "apgd", "x.py:y", "\0", "autorank"]
    )
    | st.integers(-(10**30), 10**30)
    | st.integers(-2, 40)
    | st.floats()
    | st.booleans()
    | st.just(date(2020, 1, 1))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
TABLES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5)
TREES = st.builds(lambda above, blocks: {**above, "runs": blocks}, TABLES, st.lists(TABLES, max_size=2)) | TABLES
NAMED: st.SearchStrategy[dict[str, str]] = st.just({}) | st.just({"defense": "regular", "dataset": "glyphs-mini"})


@settings(max_examples=300, deadline=None)
@given(TREES, NAMED)
def test_any_tree_is_a_sweep_or_refused_in_one_line(tree: dict[str, Any], named: dict[str, str]) -> None:
    try:
        found = plan_tree({**tree, **named}, source="f.toml")
    except RbdmlError as error:
        assert "\n" not in str(error)
        assert str(error).startswith("f.toml: ")
    else:
        assert len({job.spec.digest for job in found.jobs}) == len(found.jobs) <= matrix.MAX_RUNS


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="[]{}=.\"'#\n ab01eE_-:", max_size=60).map(str.encode))
def test_any_bytes_are_toml_or_refused(content: bytes) -> None:
    try:
        assert isinstance(parse(content, "f.toml"), dict)
    except RbdmlError as error:
        assert str(error).startswith("f.toml: ")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a system without /dev/zero")
def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(RbdmlError, match="/dev/zero: cannot be read"):
        read_file(Path("/dev/zero"))
