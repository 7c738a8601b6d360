"""What can be seen of a record without its checkpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from submission_support import Edit, at, audited, copied, edit, enter, renamed, revalued

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.status import load_dataset
from robustbench_dml.evaluation.diagnostics import check_model
from robustbench_dml.evaluation.evaluate import choose_queries, context_for
from robustbench_dml.leaderboard.entries import Entry, Listed, Verification, read_listed, write_entry
from robustbench_dml.leaderboard.submission import audit as auditing
from robustbench_dml.leaderboard.submission.audit import Audit, audit, audit_entry
from robustbench_dml.leaderboard.submission.claims import LIMITS, MILD, line_problem
from robustbench_dml.models.checkpoints import load_checkpoint
from robustbench_dml.runs.record import CHECKPOINT_FILE, QUERIES_FILE, Record, read_record, write_record
from robustbench_dml.spec.registry import DATASETS, DEFENSES
from robustbench_dml.utils.errors import MissingDataError
from robustbench_dml.utils.files import sha256

CPU = torch.device("cpu")


def test_an_honest_record_has_neither_problem_nor_note(run: Path, second: Path, model: tuple[Path, Path]) -> None:
    for folder in (run, second, model[1]):
        assert audited(folder) == Audit()


def test_the_flags_that_do_not_disqualify_are_those_that_the_checks_call_so(run: Path) -> None:
    record, dataset = read_record(run), load_dataset("glyphs-mini", DataPaths())
    checkpoint = load_checkpoint(run / CHECKPOINT_FILE, device=CPU)
    context = context_for(checkpoint.model, dataset, record.spec.evaluation, device=CPU)
    rows = choose_queries(dataset.test.labels, record.spec.evaluation, dataset.name)[:32]
    found = check_model(context, rows)
    known = {one.flag for one in found.all}
    assert {one.flag for one in found.all if not one.disqualifies} == MILD & known
    assert set(LIMITS) & known == known - {"collapsed"}
    for one in found.all:
        if one.flag in LIMITS:
            name, limit = LIMITS[one.flag]
            assert name in one.measured
            assert one.raised or one.measured[name] <= limit


def moved(*keys: str | int, by: float) -> Edit:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] += by

    return change


TAMPERED: dict[str, tuple[Edit, str]] = {
    "a benign value": (moved("benign", "R@1", by=5), r"^R@1 is [\d.]+ and its per-query values make it"),
    "an attacked value": (moved("attacked", "TMA", by=-0.05), "^TMA is "),
    "one by very little": (moved("attacked", "CA+", by=1e-5), r"^CA\+ is "),
    "the score": (moved("scores", "ERS", by=5), "^ERS is "),
    "the other score": (moved("scores", "sERS", by=5), "^sERS is "),
    "an interval": (moved("intervals", "ERS", 0, by=0.1), "^the interval of ERS is "),
    "chance": (moved("benign", "chance", by=-1), "^chance is [0-9.]+ and these queries make it"),
    "NMI": (at("benign", "NMI", value=101.0), "^NMI is 101, and it is a percentage"),
    "a value that is missing": (lambda data: data["attacked"].pop("GTT"), "^attacked: .* where the protocol has"),
    "a value too many": (at("benign", "R@3", value=99.0), "^benign: .*R@3"),
    "which score ranks": (
        lambda data: data.update(scores=dict(reversed(list(data["scores"].items())))),
        "^scores: sERS, ERS where the protocol has ERS, sERS",
    ),
    "passes": (moved("cost", "passes", by=-100), "^cost: passes is "),
    "metered cost": (moved("cost", "metered_per_iteration", by=-0.5), "^cost: metered_per_iteration is "),
    "nominal cost": (moved("cost", "nominal_per_iteration", by=-1), "^cost: nominal_per_iteration is 0"),
    "no iteration": (at("cost", "spent", "iterations", value=0), "^cost: iterations out of range"),
    "a negative cost": (at("cost", "spent", "forward_only", value=-1), "^cost: forward_only out of range"),
    "a cost beyond all numbers": (at("cost", "spent", "to_input", value=10**400), "^cost: to_input out of range"),
    "a nominal cost beyond all numbers": (
        at("cost", "nominal_per_iteration", value=10**400),
        "^cost: nominal_per_iteration out of range",
    ),
    "a collapse after the end": (at("training_end", "collapsed_at", value=10**6), "^training_end: collapsed at"),
    "a stop without collapse": (at("training_end", "stopped", value=True), "^training_end: stopped without"),
    "a collapse hidden": (
        at("diagnostics", "measured", "mean cosine", value=0.999),
        "^diagnostics: 'collapsed' and what was measured disagree",
    ),
    "a collapse that was none": (at("diagnostics", "flags", value=["collapsed"]), "^diagnostics: "),
    "a flag that is hidden": (
        at("diagnostics", "measured", "images without gradient", value=0.9),
        "the flag 'no gradient' is missing",
    ),
    "a flag that is hidden with its measurement": (
        lambda data: data["diagnostics"]["measured"].pop("MR lost without gradients"),
        "^diagnostics: no MR lost without gradients",
    ),
    "what only half precision may differ by": (
        at("diagnostics", "measured", "difference of two calls", value=0.01),
        "the flag 'random' is missing",
    ),
    "a flag made harmless": (at("diagnostics", "flags", value=["no gradient"]), "no gradient disqualifies and is not"),
    "a flag from nowhere": (at("diagnostics", "disqualifying", value=["x"]), "^diagnostics: disqualifying flags that"),
    "no geometry": (at("diagnostics", "measured", value={}), "^diagnostics: no mean cosine"),
    "HTML": (at("provenance", "device", value="<script>alert(1)</script>"), "provenance.device .* holds HTML"),
    "HTML as a name": (at("provenance", "versions", "<img src=x>", value="1"), "name in provenance.versions .* HTML"),
    "control characters": (at("provenance", "cpu", value="a\x1b[2J"), "provenance.cpu .* holds control characters"),
    "text that turns around": (at("provenance", "cpu", value="a\u202eb"), "provenance.cpu .* control characters"),
    "a long text": (at("provenance", "cpu", value="x" * 201), "longer than 200 characters"),
    "no time": (at("provenance", "created", value="yesterday"), "created is no time"),
    "no commit": (at("provenance", "commit", value="main"), "commit is no commit"),
    "no hash": (at("provenance", "weights", value="x"), "weights is no SHA-256"),
    "other data files": (
        at("provenance", "dataset_files", "t10k-labels-idx1-ubyte", value="0" * 64),
        "^made from other files than those of 'glyphs-mini' here",
    ),
    "another source": (at("provenance", "defense_source", value="0" * 64), "^the source of 'regular' is not the one"),
    "another file of values": (at("provenance", "queries", value="0" * 64), "is not the file that the record was made"),
}


@pytest.mark.parametrize(("change", "message"), TAMPERED.values(), ids=TAMPERED)
def test_what_is_altered_is_named(copy: Path, change: Edit, message: str) -> None:
    edit(copy, change)
    problems = audited(copy).problems
    assert any(re.search(message, problem) for problem in problems), problems


SPECS: dict[str, tuple[dict[str, Any], str]] = {
    "a fake": ({"defense": "fake-constant"}, "'fake-constant' is a fake, made to be caught"),
    "an unknown defense": ({"defense": "regulr"}, "unknown defense 'regulr': did you mean 'regular'"),
    "a defense with HTML": ({"defense": "<b>x</b>"}, "spec.defense '<b>x</b>' holds HTML"),
    "a folder": ({"dataset": "folder:/tmp/mine"}, "data set 'folder:/tmp/mine' is not one that everybody can have"),
    "an unknown data set": ({"dataset": "glyphs-maxi"}, "data set 'glyphs-maxi' is not one"),
    "an unknown backbone": ({"backbone": "c2f3"}, "unknown backbone 'c2f3'"),
    "a backbone for other images": ({"backbone": "resnet18"}, "'resnet18' does not take the images"),
    "a parameter too many": ({"params": {"sampler": "R", "u": 1}}, "has no parameter 'u'"),
    "a parameter too few": ({"params": {}}, "parameters of 'regular' missing or not as it keeps them: "),
    "a parameter out of range": ({"params": {"sampler": "Z"}}, "sampler 'Z'"),
}


@pytest.mark.parametrize(("spec", "message"), SPECS.values(), ids=SPECS)
def test_what_is_not_on_any_board_is_named(copy: Path, spec: dict[str, Any], message: str) -> None:
    problems = audited(renamed(copy, **spec)).problems
    assert any(message in problem for problem in problems), problems


EVALUATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown protocol": ({"protocol": "erss"}, "evaluation: unknown protocol 'erss': did you mean 'ers'"),
    "an unknown solver": (
        {"search": {"optimiser": "pdg", "params": {}}},
        "evaluation: unknown solver 'pdg'",
    ),
    "settings that are not all there": ({"search": {"optimiser": "pgd", "params": {}}}, "not all its settings are"),
    "an attack from a file": ({"extra_attacks": ("x.py:EVIL",)}, "attack 'x.py:EVIL' is not one of this project"),
    "too many queries": ({"queries": 601}, "601 queries, and 'glyphs-mini' has 600"),
    "endless steps": ({"threat": {"steps": 10**9}}, "1000000000 steps, and at most 10000"),
    "a surrogate for nothing": ({"surrogate": "0" * 16}, "nothing here transfers"),
}


@pytest.mark.parametrize(("evaluation", "message"), EVALUATIONS.values(), ids=EVALUATIONS)
def test_an_evaluation_that_is_not_one_of_ours_is_named(copy: Path, evaluation: dict[str, Any], message: str) -> None:
    own = read_record(copy).spec.evaluation
    changes = {name: value for name, value in evaluation.items() if name != "threat"}
    threat = own.threat.model_copy(update=evaluation.get("threat", {}))
    search = type(own.solver)(**evaluation["search"]) if "search" in evaluation else own.solver
    changed = own.model_copy(update={**changes, "threat": threat, "solver": search})
    problems = audited(renamed(copy, evaluation=changed)).problems
    assert any(message in problem for problem in problems), problems


def test_a_file_that_a_record_names_as_an_attack_is_not_run(copy: Path, tmp_path: Path) -> None:
    evil, trace = tmp_path / "evil.py", tmp_path / "ran"
    evil.write_text(f"from pathlib import Path\nPath({str(trace)!r}).touch()\n")
    own = read_record(copy).spec.evaluation
    renamed_run = renamed(copy, evaluation=own.model_copy(update={"extra_attacks": (f"{evil}:X",)}))
    assert "is not one of this project" in audited(renamed_run).problems[0]
    assert not trace.exists()


VALUES: dict[str, tuple[Callable[[dict[str, np.ndarray]], object], str]] = {
    "NaN": (lambda values: values["TMA"].put([3], np.nan), "TMA holds values that are not finite"),
    "infinity": (lambda values: values["ES:D"].put([3], np.inf), "ES:D holds values that are not finite"),
    "a share above one": (lambda values: values["CA+"].put([3], 1.5), r"CA\+ holds values outside of 0 to 1"),
    "a cosine below -1": (lambda values: values["TMA"].put([3], -1.5), "TMA holds values outside of -1 to 1"),
    "half a recall": (lambda values: values["R@1"].put([3], 0.5), "R@1 holds values that are neither 0 nor 1"),
    "other queries": (
        lambda values: values["query"].put([0], values["query"][0] + 1),
        "not of the queries that seed 0",
    ),
    "fewer queries": (
        lambda values: values.update({name: array[:-1] for name, array in values.items()}),
        "not of the queries that seed 0 chooses",
    ),
    "a column that is missing": (lambda values: values.pop("GTM"), "no float64 values of GTM"),
    "rough values": (
        lambda values: values.update({"GTM": values["GTM"].astype(np.float32)}),
        "no float64 values of GTM",
    ),
    "no rows": (lambda values: values.pop("query"), "does not say which queries"),
    "rows as other numbers": (
        lambda values: values.update({"query": values["query"].astype(np.float64)}),
        "not of the queries that seed 0 chooses",
    ),
    "NMI by query": (lambda values: values.update({"NMI": values["TMA"]}), "NMI is of all queries together"),
    "chance by query": (lambda values: values.update({"chance": values["TMA"]}), "chance is of all queries together"),
}


@pytest.mark.parametrize("again", [True, False], ids=["with hashes redone", "alone"])
@pytest.mark.parametrize(("change", "message"), VALUES.values(), ids=VALUES)
def test_per_query_values_that_no_evaluation_gives_are_named(
    copy: Path, change: Callable[[dict[str, np.ndarray]], object], message: str, again: bool
) -> None:
    kept = read_record(copy)
    revalued(copy, change, again=False)
    if again:
        _rehash(copy, kept)
    problems = audited(copy).problems
    assert any(re.search(message, problem) for problem in problems), problems
    assert again or any("is not the file that the record was made with" in problem for problem in problems)


def _rehash(copy: Path, record: Record) -> None:
    hashed = record.provenance.model_copy(update={"queries": sha256(copy / QUERIES_FILE)})
    write_record(copy, record.model_copy(update={"provenance": hashed}))


def test_values_moved_in_the_file_alone_are_not_those_of_the_record(copy: Path) -> None:
    record = read_record(copy)
    revalued(copy, lambda values: values["CA+"].__imul__(0.5), again=False)
    _rehash(copy, record)
    problems = audited(copy).problems
    assert any(problem.startswith("CA+ is ") for problem in problems)
    assert any(problem.startswith("ERS is ") for problem in problems)


def test_values_moved_everywhere_need_the_checkpoint_to_be_found(copy: Path) -> None:
    """What this audit cannot see; the second evaluation is for it."""
    revalued(copy, lambda values: np.clip(values["TMA"] - 0.05, -1, 1, out=values["TMA"]))
    assert audited(copy) == Audit()


def test_a_model_that_is_not_the_one_of_its_spec_is_named(model: tuple[Path, Path], tmp_path: Path) -> None:
    copy = copied(model[1], tmp_path)
    edit(copy, at("provenance", "weights", value="0" * 64))
    assert any("not of the source and the weights" in problem for problem in audited(copy).problems)


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The data set is not at hand."""

    def absent(*_: object) -> None:
        raise MissingDataError("nowhere")

    monkeypatch.setattr(auditing, "_loaded", absent)


def test_data_that_is_not_at_hand_is_a_note(copy: Path, no_data: None) -> None:
    found = audited(copy)
    assert found.problems == ()
    assert found.notes == ("'glyphs-mini' is not at hand: its files and chance are not compared",)
    revalued(copy, lambda values: values["query"].put([0], values["query"][1]))
    assert any("not of the queries that seed 0 chooses" in problem for problem in audited(copy).problems)


def test_without_the_data_all_queries_are_all_images(copy: Path, no_data: None) -> None:
    """Or a record could be of those alone that its model gets right."""
    every = renamed(copy, evaluation=read_record(copy).spec.evaluation.model_copy(update={"queries": None}))
    assert any("not of the queries that seed 0 chooses" in problem for problem in audited(every).problems)


def test_a_defense_that_has_changed_since_is_a_note_on_the_board(copy: Path) -> None:
    edit(copy, at("provenance", "defense_source", value="0" * 64))
    found = audit(read_record(copy), copy, DataPaths())
    assert found.problems == ()
    assert "the source of 'regular' is not the one" in found.notes[0]


def listed(board: Path, run: Path, entry: Entry | None = None) -> Listed:
    folder = enter(board, run)
    if entry is not None:
        write_entry(folder, entry)
    return read_listed(folder)


def test_an_entry_where_it_belongs_has_no_problem(board: Path, run: Path) -> None:
    assert audit_entry(listed(board, run), DataPaths()) == Audit()


def test_an_entry_that_is_misplaced_or_holds_more_is_named(board: Path, run: Path) -> None:
    folder = enter(board, run)
    (folder / "run.py").touch()
    problems = audit_entry(read_listed(folder), DataPaths()).problems
    assert problems == (f"{run.name}: run.py does not belong to an entry: remove it",)
    (folder / "run.py").unlink()
    elsewhere = folder.rename(folder.with_name("0" * 16))
    problems = audit_entry(read_listed(elsewhere), DataPaths()).problems
    assert len(problems) == 1
    assert "where it does not belong" in problems[0]


def test_texts_of_an_entry_are_looked_at(board: Path, run: Path) -> None:
    entry = Entry(submitted="2026-02-03T04:05:06+00:00", by="<b>me</b>", declared_passes=1.0)
    problems = audit_entry(listed(board, run, entry), DataPaths()).problems
    assert len(problems) == 2
    assert "by '<b>me</b>' holds HTML" in problems[0]
    assert "declares a cost that was metered" in problems[1]


def test_texts_of_a_verification_are_looked_at_too(board: Path, run: Path) -> None:
    verification = Verification(
        created="2026-02-03T04:05:06+00:00",
        queries=64,
        differences={},
        unequal=0.0,
        flags=["<script>alert(1)</script>"],
        disqualifying=["random"],
        versions={},
        device="a processor",
        commit=None,
        dirty=None,
    )
    entry = Entry(submitted="2026-02-03T04:05:06+00:00", verification=verification)
    problems = audit_entry(listed(board, run, entry), DataPaths()).problems
    assert len(problems) == 2
    assert "verification.flags '<script>alert(1)</script>' holds HTML" in problems[0]
    assert "verification: disqualifying flags that are not among its flags" in problems[1]


def test_every_defense_and_data_set_has_a_name_that_may_be_shown() -> None:
    assert [info.name for registry in (DEFENSES, DATASETS) for info in registry if line_problem(info.name)] == []
