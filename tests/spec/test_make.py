from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from robustbench_dml.datasets.held import hold
from robustbench_dml.models.checkpoints import save_checkpoint, weights_hash
from robustbench_dml.runs import api
from robustbench_dml.spec.make import changed_evaluation, make_spec, published_evaluation, with_evaluation
from robustbench_dml.spec.protocols import columns_of
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import ATTACKS, SOLVERS
from robustbench_dml.spec.schema import Evaluation, RunSpec, SolverSpec, Threat
from robustbench_dml.utils.errors import RbdmlError

PUBLISHED = Evaluation(protocol="ers", threat=Threat(eps=77 / 255, alpha=3 / 255, steps=32), queries=None, seed=0)
DIGITS = "0123456789abcdef"
TRANSFERRED = PUBLISHED.model_copy(
    update={
        "surrogate": DIGITS,
        "solver": changed_evaluation(PUBLISHED, {"solver": "transfer", "surrogate": DIGITS}).solver,
    }
)
RANKED = changed_evaluation(PUBLISHED, {"protocol": "autorank", "surrogate": DIGITS})


def test_the_defaults_are_the_published_settings() -> None:
    assert published_evaluation("glyphs-mini") == PUBLISHED
    assert changed_evaluation(PUBLISHED, {}) == PUBLISHED
    unset = {"eps": None, "solver": None, "solver_params": None, "extra_attacks": None}
    assert changed_evaluation(PUBLISHED, unset) == PUBLISHED
    assert make_spec(defense="regular", dataset="glyphs-mini").evaluation == PUBLISHED
    assert PUBLISHED.solver == changed_evaluation(PUBLISHED, {"solver": "pgd"}).solver


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("eps", 0.1, ("threat", "eps")),
        ("alpha", 0.1, ("threat", "alpha")),
        ("steps", 7, ("threat", "steps")),
        ("queries", 5, ("queries",)),
        ("seed", 3, ("seed",)),
        ("precision", "bf16", ("precision",)),
    ],
)
def test_one_setting_changes_one_value(name: str, value: object, place: tuple[str, ...]) -> None:
    changed = changed_evaluation(PUBLISHED, {name: value}).model_dump()
    expected = PUBLISHED.model_dump()
    inner = expected
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert changed == expected


# The number of queries


@pytest.mark.parametrize(
    ("dataset", "protocol", "queries"),
    [
        ("fashion", "ers", 2000),
        ("fashion", "radius", 500),
        ("sop", "ers-published", 2000),
        ("sop", "autorank", 500),
        ("cub", "ers", None),
        ("cub", "radius", 500),
        ("glyphs", "ers", 500),
        ("glyphs-mini", "ers", None),
    ],
)
def test_queries_are_the_data_sets_or_the_protocols_whichever_is_less(
    dataset: str, protocol: str, queries: int | None
) -> None:
    assert published_evaluation(dataset, protocol).queries == queries
    surrogate = {"surrogate": DIGITS} if protocol == "autorank" else {}
    for before in map(published_evaluation, [dataset] * 2, ["ers", "radius"]):  # another protocol brings its number
        changes = {"protocol": protocol, **surrogate}
        assert changed_evaluation(before, changes, dataset=dataset).queries == queries
        chosen = changed_evaluation(before, {"queries": 64}, dataset=dataset)
        assert changed_evaluation(chosen, changes, dataset=dataset).queries == 64
        assert changed_evaluation(before, {**changes, "queries": "all"}, dataset=dataset).queries is None


def test_a_set_with_fewer_images_than_the_protocol_asks_for_is_attacked_whole() -> None:
    images = torch.rand(12, 1, 28, 28)
    assert published_evaluation(hold(images, torch.arange(12) // 3), "radius").queries is None


# The norm


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "--attack-eps and --attack-alpha"),
        ({"eps": 2.0}, "give --attack-alpha"),
        ({"alpha": 2.0}, "give --attack-eps"),
    ],
)
def test_another_norm_needs_its_own_lengths(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(RbdmlError, match=rf"norm l2 .* linf lengths.* {missing} too"):
        changed_evaluation(PUBLISHED, {"norm": "l2", **given})


def test_lengths_in_l2_are_taken_and_kept_while_the_norm_is() -> None:
    euclid = changed_evaluation(PUBLISHED, {"norm": "l2", "eps": 2.0, "alpha": 0.5})
    assert euclid.threat == Threat(norm="l2", eps=2.0, alpha=0.5, steps=32)
    assert changed_evaluation(euclid, {"norm": "l2", "steps": 3}).threat.eps == 2.0
    with pytest.raises(RbdmlError, match=r"norm linf .* l2 lengths"):
        changed_evaluation(euclid, {"norm": "linf"})


def test_a_radius_above_1_is_for_l2_alone() -> None:
    with pytest.raises(RbdmlError, match=r"attack .*eps = 2.0"):
        changed_evaluation(PUBLISHED, {"eps": 2.0})


# The solver


@pytest.mark.parametrize("name", [info.name for info in SOLVERS if not info.cls.needs_surrogate])
def test_an_solver_comes_with_all_its_parameters(name: str) -> None:
    search = changed_evaluation(PUBLISHED, {"solver": name}).solver
    assert search.name == name
    assert SOLVERS.get(name).cls(**search.params) == SOLVERS.get(name).cls()


def test_parameters_are_read_as_their_types_and_others_are_kept() -> None:
    changed = changed_evaluation(PUBLISHED, {"solver_params": {"restarts": "5"}})
    assert changed.solver == SolverSpec(name="pgd", params={"random_start": False, "restarts": 5})
    again = changed_evaluation(changed, {"solver": "pgd", "solver_params": {"random_start": "true"}})
    assert again.solver.params == {"random_start": True, "restarts": 5}
    # another solver begins with its own defaults
    assert changed_evaluation(again, {"solver": "apgd"}).solver.params == SOLVERS.get("apgd").cls().__dict__


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"solver": "pdg"}, "solver 'pdg': did you mean 'pgd'"),
        ({"solver_params": {"restart": "2"}}, "solver 'pgd' has no parameter 'restart': did you mean 'restarts'"),
        ({"solver_params": {"restarts": "many"}}, "parameter 'restarts' cannot be 'many'"),
        ({"solver_params": {"restarts": "0"}}, "restarts = 0"),
        ({"solver": "transfer"}, "'transfer' transfers from an undefended model: give --surrogate"),
        ({"protocol": "autorank"}, "protocol 'autorank' transfers from an undefended model: give --surrogate"),
        ({"protocol": "autorank", "surrogate": DIGITS, "solver": "pgd"}, "searches with 'ensemble' alone"),
        ({"surrogate": DIGITS}, "nothing here transfers"),
        ({"surrogate": Path("absent.safetensors")}, "absent.safetensors: no such checkpoint"),
        ({"extra_attacks": ["ca"]}, "unknown attack 'ca'"),
        ({"extra_attacks": ["es"]}, "attack 'es' fills column ES:D, which is filled"),
        ({"extra_attacks": ["ranking-margin", "gtm-published"]}, "attack 'gtm-published' fills column GTM"),
        ({"norm": "l1", "eps": 1.0, "alpha": 1.0}, "norm = 'l1'"),
    ],
)
def test_contradictions_are_refused_in_one_line(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(RbdmlError) as caught:
        changed_evaluation(PUBLISHED, changes)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


# Surrogates


def test_a_surrogate_is_named_by_its_weights(tmp_path: Path) -> None:
    trained = api.train("regular", "glyphs-mini", budget="40", device="cpu", quiet=True, training={"pairs": 16})
    save_checkpoint(tmp_path / "there.safetensors", trained)
    changes = {"solver": "transfer", "surrogate": tmp_path / "there.safetensors"}
    found = changed_evaluation(PUBLISHED, changes)
    assert found.surrogate == weights_hash(trained.embedder)[:16]
    assert with_evaluation(trained.spec, changes).evaluation == found


def test_a_surrogate_is_forgotten_when_nothing_transfers_any_more() -> None:
    assert TRANSFERRED.surrogate == DIGITS
    assert changed_evaluation(TRANSFERRED, {"steps": 3}).surrogate == DIGITS
    assert changed_evaluation(TRANSFERRED, {"solver": "pgd"}) == PUBLISHED
    with pytest.raises(RbdmlError, match="nothing here transfers"):
        changed_evaluation(TRANSFERRED, {"solver": "pgd", "surrogate": DIGITS})


# Protocols


def test_another_protocol_brings_its_solver_and_drops_extra_attacks() -> None:
    more = changed_evaluation(PUBLISHED, {"extra_attacks": ["ranking-margin"], "solver_params": {"restarts": "3"}})
    assert changed_evaluation(more, {"protocol": "ers"}) == more
    assert changed_evaluation(more, {"protocol": "ers-published"}) == PUBLISHED.model_copy(
        update={"protocol": "ers-published"}
    )
    assert RANKED.solver == PROTOCOLS["autorank"].solver
    assert changed_evaluation(RANKED, {"protocol": "ers"}) == PUBLISHED


def test_an_ensemble_can_be_made_smaller() -> None:
    small = changed_evaluation(RANKED, {"solver_params": {"restarts": "1", "steps": "2"}})
    assert small.solver.params == {**PROTOCOLS["autorank"].solver.params, "restarts": 1, "steps": 2}


# Further attacks


def test_published_means_all_further_published_columns() -> None:
    also = changed_evaluation(PUBLISHED, {"extra_attacks": ["published"]}).extra_attacks
    assert also == PROTOCOLS["ers"].further
    columns = columns_of([*PROTOCOLS["ers"].attacks, *also])
    assert len(columns) == sum(len(ATTACKS.get(name).columns) for name in [*PROTOCOLS["ers"].attacks, *also])


def test_attacks_are_taken_once_in_the_order_in_which_they_are_named() -> None:
    names = ["smooth-recall", "qa+m2", "smooth-recall", "published", "ranking-margin"]
    also = changed_evaluation(PUBLISHED, {"extra_attacks": names}).extra_attacks
    further = [name for name in PROTOCOLS["ers"].further if name != "qa+m2"]
    assert also == ("smooth-recall", "qa+m2", *further, "ranking-margin")


@pytest.fixture
def attack_file(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Write a file with an attack that fills one column of this name; return the attack's name for a user."""

    def write(column: str) -> str:
        path = tmp_path / "mine.py"
        path.write_text(
            "from robustbench_dml import Column, register_attack\n"
            "from robustbench_dml.attacks.mismatch import TargetedMismatch\n"
            f"column = Column(name={column!r}, meaning='m', scale=1, ers_slope=1, ers_offset=0)\n"
            "register_attack('specs-own', summary='s', paper='p', columns=(column,))(TargetedMismatch)\n"
        )
        return f"{path}:specs-own"

    yield write
    ATTACKS._entries.pop("specs-own", None)


def test_an_attack_in_a_file_can_be_named(attack_file: Callable[[str], str]) -> None:
    assert changed_evaluation(PUBLISHED, {"extra_attacks": [attack_file("OWN")]}).extra_attacks == ("specs-own",)


@pytest.mark.parametrize("column", ["R@1", "NMI", "chance", "query", "ERS", "sERS", "GTM"])
def test_an_attack_fills_no_column_that_is_something_else(column: str, attack_file: Callable[[str], str]) -> None:
    with pytest.raises(RbdmlError, match=f"attack 'specs-own' fills column {column}, which is filled"):
        changed_evaluation(PUBLISHED, {"extra_attacks": [attack_file(column)]})


@pytest.mark.parametrize(
    ("params", "part"),
    [
        ({"restarts": 1, "foo": 2}, "solver 'pgd' has no parameter 'foo'"),
        ({"random_start": False, "restarts": "x"}, "parameter 'restarts' cannot be 'x'"),
    ],
)
def test_stored_solver_parameters_are_checked(params: dict[str, Any], part: str) -> None:
    """Those of a checkpoint may be from a version whose solver had others."""
    before = PUBLISHED.model_copy(update={"solver": SolverSpec(name="pgd", params=params)})
    with pytest.raises(RbdmlError, match=part):
        changed_evaluation(before, {})


# The precision of training


def test_a_precision_that_is_not_set_leaves_no_trace_in_a_spec() -> None:
    """Specs of before there was one for the weight step keep their hashes, which name their records."""
    spec = make_spec(defense="regular", dataset="glyphs-mini", training={"precision": "bf16"})
    assert "weight_precision" not in spec.model_dump_json()
    same = make_spec(
        defense="regular", dataset="glyphs-mini", training={"precision": "bf16", "weight_precision": "bf16"}
    )
    assert same.digest == spec.digest
    other = make_spec(
        defense="regular", dataset="glyphs-mini", training={"precision": "bf16", "weight_precision": "fp32"}
    )
    assert other.digest != spec.digest
    assert type(other).model_validate_json(other.model_dump_json()) == other


def test_records_on_the_board_keep_their_names() -> None:
    records = sorted((Path(__file__).parents[2] / "leaderboards" / "fashion" / "records").glob("*/record.json"))
    assert records
    for path in records:
        assert RunSpec.model_validate_json(json.dumps(json.loads(path.read_text())["spec"])).digest == path.parent.name


def test_a_precision_can_only_be_auto_where_a_device_is_known() -> None:
    with pytest.raises(RbdmlError, match=r"precision = 'auto': input should be 'fp32', 'bf16' or 'tf32'"):
        make_spec(defense="regular", dataset="glyphs-mini", training={"precision": "auto"})


def test_radius_searches_in_fp32_alone() -> None:
    settings = {"protocol": "ers", "precision": "bf16"}
    trained = make_spec(defense="regular", dataset="glyphs-mini", evaluation=settings)
    assert with_evaluation(trained, {"protocol": "radius"}).evaluation.precision == "fp32"
    for wrong in ({**settings, "protocol": "radius"}, {"protocol": "radius", "precision": "tf32"}):
        with pytest.raises(RbdmlError, match=r"protocol 'radius' searches in fp32: .* leave --attack-precision out"):
            make_spec(defense="regular", dataset="glyphs-mini", evaluation=wrong)
