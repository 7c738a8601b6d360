from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from robustbench_dml.runs.record import (
    MAX_BYTES,
    RECORD_FILE,
    Cost,
    Diagnostics,
    Provenance,
    Record,
    find_records,
    read_queries,
    read_record,
    write_queries,
    write_record,
)
from robustbench_dml.spec.schema import (
    Budget,
    ComputeUsed,
    Evaluation,
    ExternalSpec,
    RunSpec,
    Threat,
    Training,
    TrainingEnd,
)
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256, write_atomically

SPEC = RunSpec(
    dataset="glyphs-mini",
    backbone="c2f2",
    pretrained="0123abcd",
    defense="hm-lga-ics",
    params={"sampler": "S", "ics": 0.5, "early_stop": True, "rounds": 3},
    training=Training(threat=Threat(eps=0.3, alpha=0.01, steps=32), pairs=128, lr=1e-3, weight_decay=1e-7),
    budget=Budget(kind="passes", amount=1000),
    seed=0,
    evaluation=Evaluation(
        protocol="ers",
        threat=Threat(eps=0.3, alpha=0.01, steps=32),
        queries=None,
        seed=0,
        extra_attacks=("qa+m2",),
        surrogate="0123456789abcdef",
    ),
)
RECORD = Record(
    digest=SPEC.digest,
    spec=SPEC,
    cost=Cost(
        spent=ComputeUsed(forward_only=30, to_input=400, to_weights=500, seconds=1.5, iterations=4),
        passes=910.0,
        nominal_per_iteration=33,
        metered_per_iteration=0.9,
        peak_memory_bytes=10**9,
    ),
    benign={"R@1": 80.1, "NMI": 1 / 3},
    attacked={"CA+": 5.5, "TMA": 0.25},
    scores={"ERS": 30.25},
    intervals={"R@1": (79.0, 81.0), "CA+": (5.0, 6.0), "TMA": (0.2, 0.3), "ERS": (29.5, 31.0)},
    diagnostics=Diagnostics(flags=[], disqualifying=[], measured={"mean_cosine": 0.1}),
    training_end=TrainingEnd(last_loss=0.2, collapsed_at=None, collapse_cause=None, stopped=False, device="cpu"),
    provenance=Provenance(
        created="2026-01-02T03:04:05+00:00",
        versions={"torch": "2.10.0"},
        device="a processor (cpu)",
        cpu="a processor",
        threads=2,
        evaluation_batch_size=128,
        commit=None,
        dirty=None,
        defense_source="0" * 64,
        dataset_files={"images": "1" * 64},
        weights="2" * 64,
        queries="3" * 64,
    ),
)

RunContext = tuple[str, ...]
AB = ("a" * 64, "b" * 64)


def leaves(values: dict[str, Any], above: RunContext = ()) -> list[RunContext]:
    """Where every single value of a spec is, but for its version."""
    return [
        leaf
        for name, value in values.items()
        if name != "version"
        for leaf in (leaves(value, (*above, name)) if isinstance(value, dict) else [(*above, name)])
    ]


def changed(values: dict[str, Any], place: RunContext, change: Callable[[Any], Any]) -> dict[str, Any]:
    """A copy with one value changed."""
    values = copy.deepcopy(values)
    inner = values
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = change(inner[place[-1]])
    return values


OTHERS = {
    "passes": "seconds",
    "continue": "stop",
    "none": "crop and flip",
    "frozen": "train",
    "train": "frozen",
    "fp32": "bf16",
    "linf": "l2",
}


def other(value: Any) -> Any:
    """Another valid value of the same field."""
    if value is None:
        return 1
    if isinstance(value, bool):
        return not value
    if isinstance(value, list | tuple):
        return type(value)()
    if isinstance(value, str):
        return OTHERS.get(value, value[::-1] if len(value) > 1 else "R")
    return value + 1 if isinstance(value, int) else value / 2


@pytest.mark.parametrize("place", leaves(SPEC.model_dump()), ids=".".join)
def test_the_digest_changes_with_every_field(place: RunContext) -> None:
    assert RunSpec.model_validate(changed(SPEC.model_dump(), place, other)).digest != SPEC.digest


@given(st.permutations(list(SPEC.params)))
def test_the_digest_does_not_depend_on_the_order_of_parameters(names: list[str]) -> None:
    assert SPEC.model_copy(update={"params": {name: SPEC.params[name] for name in names}}).digest == SPEC.digest


def test_the_digest_tells_types_and_extra_parameters_apart() -> None:
    params: list[dict[str, Any]] = [{}, {"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"b": 1}, {"a": 1, "b": 1}]
    assert len({SPEC.model_copy(update={"params": one}).digest for one in params}) == len(params)


@given(st.floats(0, 1), st.floats(1e-300, 1e30))
def test_a_spec_keeps_its_digest_through_json(eps: float, lr: float) -> None:
    threat = Threat(eps=eps, alpha=0.01, steps=32)
    spec = SPEC.model_copy(update={"training": Training(threat=threat, pairs=1, lr=lr, weight_decay=0.0)})
    assert RunSpec.model_validate_json(spec.model_dump_json()).digest == spec.digest


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    assert read_record(tmp_path) == RECORD
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_FILE]


def test_values_are_all_scores_benign_first() -> None:
    assert list(RECORD.values.items()) == [("R@1", 80.1), ("NMI", 1 / 3), ("CA+", 5.5), ("TMA", 0.25), ("ERS", 30.25)]


def test_records_are_found_in_the_order_of_their_paths_and_unfinished_ones_are_not(tmp_path: Path) -> None:
    for seed, name in enumerate(["b/y", "a/z", "a/x", "a/.x.part", "a/.z.old"]):
        spec = SPEC.model_copy(update={"seed": seed})
        (tmp_path / name).mkdir(parents=True)
        write_record(tmp_path / name, RECORD.model_copy(update={"spec": spec, "digest": spec.digest}))
    assert [record.spec.seed for record in find_records(tmp_path)] == [2, 1, 0]


def refusal(folder: Path, text: str | bytes) -> str:
    """What is said of a folder whose record is this: one line that names the file."""
    path = folder / RECORD_FILE
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RbdmlError) as caught:
        read_record(folder)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("place", leaves(SPEC.model_dump()), ids=".".join)
def test_a_record_whose_spec_was_altered_is_refused(tmp_path: Path, place: RunContext) -> None:
    altered = changed(RECORD.model_dump(mode="json"), ("spec", *place), other)
    assert "altered" in refusal(tmp_path, json.dumps(altered))


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "not json", b"\xff\xfe\x00", "{" * 10_000], ids=repr)
def test_garbage_is_refused(tmp_path: Path, text: str | bytes) -> None:
    assert "not a valid record" in refusal(tmp_path, text)


def test_a_record_cut_anywhere_is_refused(tmp_path: Path) -> None:
    text = RECORD.model_dump_json(indent=1)
    for length in range(0, len(text), 37):
        assert "not a valid record" in refusal(tmp_path, text[:length])


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", "null", '"30.25"', "true"])
@pytest.mark.parametrize(
    "place",
    [("scores", "ERS"), ("benign", "R@1"), ("cost", "passes"), ("diagnostics", "measured", "mean_cosine")],
    ids=".".join,
)
def test_what_is_not_a_finite_number_is_refused(tmp_path: Path, place: RunContext, value: str) -> None:
    text = json.dumps(changed(RECORD.model_dump(mode="json"), place, lambda _: "VALUE"))
    assert ".".join(place) in refusal(tmp_path, text.replace('"VALUE"', value))


def test_a_record_cannot_be_made_of_nan() -> None:
    with pytest.raises(ValidationError):
        Record(**{**dict(RECORD), "intervals": {"ERS": (float("nan"), 1.0)}})


@pytest.mark.parametrize("place", [(), ("spec",), ("spec", "evaluation", "threat"), ("provenance",)], ids=".".join)
def test_an_unknown_field_is_refused(tmp_path: Path, place: RunContext) -> None:
    record = {"record": RECORD.model_dump(mode="json")}
    more = changed(record, ("record", *place), lambda values: {**values, "more": 1})
    assert ".".join((*place, "more")) in refusal(tmp_path, json.dumps(more["record"]))


@pytest.mark.parametrize("name", Record.model_fields)
def test_a_missing_field_is_refused(tmp_path: Path, name: str) -> None:
    values = RECORD.model_dump(mode="json")
    del values[name]
    if name == "version":  # the first version may go unsaid
        (tmp_path / RECORD_FILE).write_text(json.dumps(values))
        assert read_record(tmp_path) == RECORD
    else:
        assert f"{name}: Field required" in refusal(tmp_path, json.dumps(values))


@pytest.mark.parametrize("version", [0, 2, "1", 1.5, None])
def test_another_version_of_specs_is_refused(tmp_path: Path, version: object) -> None:
    altered = changed(RECORD.model_dump(mode="json"), ("spec", "version"), lambda _: version)
    assert ": spec.version: " in refusal(tmp_path, json.dumps(altered))


@pytest.mark.parametrize("version", [0, 1, 3, "2", 1.5, None])
def test_another_version_of_records_is_refused_and_said_to_be_made_again(tmp_path: Path, version: object) -> None:
    old = {**RECORD.model_dump(mode="json"), "version": version}
    del old["scores"]  # as in version 1: what else does not fit is not what matters
    message = refusal(tmp_path, json.dumps({**old, "ers": 30.25}))
    assert f"version {version!r} of records" in message
    assert "run again" in message


# Models from elsewhere


FOREIGN = ExternalSpec(
    dataset="glyphs-mini", model="mine.py:build", source="a" * 64, weights="b" * 64, evaluation=SPEC.evaluation
)
UNKNOWN = RECORD.model_copy(update={"digest": FOREIGN.digest, "spec": FOREIGN, "cost": None, "training_end": None})


def test_a_record_of_a_foreign_model_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, UNKNOWN)
    read = read_record(tmp_path)
    assert read == UNKNOWN
    assert isinstance(read.spec, ExternalSpec)
    assert read.flags == []


def test_only_a_foreign_model_may_have_an_unknown_training(tmp_path: Path) -> None:
    for name in ("cost", "training_end"):
        assert "cost and a training_end" in refusal(tmp_path, RECORD.model_copy(update={name: None}).model_dump_json())


@pytest.mark.parametrize("place", leaves(FOREIGN.model_dump()), ids=".".join)
def test_the_digest_of_a_foreign_spec_changes_with_every_field(tmp_path: Path, place: RunContext) -> None:
    swapped = changed(FOREIGN.model_dump(), place, lambda value: "c" * 64 if value in AB else other(value))
    altered = ExternalSpec.model_validate(swapped)
    assert altered.digest != FOREIGN.digest
    assert "altered" in refusal(tmp_path, UNKNOWN.model_copy(update={"spec": altered}).model_dump_json())


def test_a_foreign_spec_is_called_by_its_factory_and_its_weights() -> None:
    assert (FOREIGN.label, FOREIGN.network, FOREIGN.seed, FOREIGN.params) == ("mine.py:build@bbbbbbbb", None, None, {})
    assert (SPEC.label, SPEC.network) == ("hm-lga-ics", "c2f2")
    assert FOREIGN.dataset_folder == SPEC.dataset_folder == "glyphs-mini"


def test_a_file_too_large_for_a_record_is_not_even_parsed(tmp_path: Path) -> None:
    text = RECORD.model_dump_json()
    (tmp_path / RECORD_FILE).write_text(text.ljust(MAX_BYTES))
    assert read_record(tmp_path) == RECORD
    assert "larger than" in refusal(tmp_path, text.ljust(MAX_BYTES + 1))


def test_a_missing_record_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match="cannot be read"):
        read_record(tmp_path)
    (tmp_path / RECORD_FILE).mkdir()
    with pytest.raises(RbdmlError, match="cannot be read"):
        read_record(tmp_path)


def test_queries_come_back_as_they_were_written(tmp_path: Path) -> None:
    queries = {"query": np.arange(5), "R@1": np.array([0, 1, 1, 0, 1.0]), "CA+": np.linspace(0, 1, 5)}
    write_queries(tmp_path, queries)
    read = read_queries(tmp_path)
    assert list(read) == list(queries)
    for name, values in queries.items():
        assert read[name].dtype == values.dtype
        assert np.array_equal(read[name], values)


def test_queries_are_never_unpickled(tmp_path: Path) -> None:
    write_queries(tmp_path, {"query": np.array([print], dtype=object)})
    with pytest.raises(RbdmlError, match="Object arrays cannot be loaded"):
        read_queries(tmp_path)


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("old", [b"old", None], ids=["over-a-file", "new"])
def test_a_writer_that_fails_leaves_everything_as_it_was(
    tmp_path: Path, error: type[BaseException], old: bytes | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the new")
        raise error

    with pytest.raises(error):
        write_atomically(path, fail)
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == ([("file", old)] if old else [])


def test_a_writer_that_succeeds_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    write_atomically(path, lambda file: file.write(b"new"))
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [("file", b"new")]


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def look(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, look)
    assert path.read_bytes() == b"new"


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-4, the example of one block
    assert sha256(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_flags_of_a_mean_radius_have_a_size() -> None:
    measured = {"MR by PGD": 20.0, "MR by all checks": 7.75}
    flags = ["PGD overstates", "random"]

    def sized(measured: dict[str, float]) -> list[str]:
        checks = RECORD.diagnostics.model_copy(update={"flags": flags, "measured": measured})
        return RECORD.model_copy(update={"diagnostics": checks}).sized_flags

    assert sized({}) == flags
    assert sized(measured) == ["PGD overstates: -12.2 MR", "random"]
