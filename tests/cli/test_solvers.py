"""Norms, solvers, further attacks and surrogates, from the command line to the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_support import RUN, Made, nothing_below, rbdml, refusal

from robustbench_dml.datasets.base import DataPaths, Dataset, Split
from robustbench_dml.models.checkpoints import load_checkpoint, weights_hash
from robustbench_dml.runs import api
from robustbench_dml.runs.context import RunContext
from robustbench_dml.runs.record import Record, find_records, read_queries
from robustbench_dml.spec.make import changed_evaluation
from robustbench_dml.spec.published import PROTOCOLS
from robustbench_dml.spec.registry import SOLVERS
from robustbench_dml.utils.errors import RbdmlError

pytestmark = pytest.mark.usefixtures("described_figures")

ATTACKED = ("CA+", "CA-", "QA+", "QA-", "TMA", "ES:D", "ES:R", "LTM", "GTM", "GTT")


def evaluated(made: Made, out: Path, *options: str | Path) -> Record:
    answer = rbdml("evaluate", made.checkpoint, "--device", "cpu", "--json", "--out", out, *options)
    assert answer.code == 0, answer.err
    return Record.model_validate_json(answer.out)


def test_every_solver_is_listed_with_its_parameters() -> None:
    rows = json.loads(rbdml("list", "solvers", "--json").out)
    assert [row["name"] for row in rows] == [info.name for info in SOLVERS]
    for row, info in zip(rows, SOLVERS, strict=True):
        listed = dict(pair.split("=") for pair in row["parameters"].split(", "))
        assert listed == {name: str(value) for name, value in vars(info.cls()).items()}
        assert ("gradients" in row["needs"]) is not info.cls.black_box
        assert ("--surrogate" in row["needs"]) is info.cls.needs_surrogate
        assert row["name"] in rbdml("list", "solvers").out


def test_every_protocol_is_listed_with_its_attacks() -> None:
    rows = json.loads(rbdml("list", "protocols", "--json").out)
    assert {row["name"]: row["attacks"] for row in rows} == {
        name: ", ".join(protocol.attacks) for name, protocol in PROTOCOLS.items()
    }


def test_the_options_are_the_evaluation_of_the_record(made: Made, tmp_path: Path) -> None:
    record = evaluated(
        made,
        tmp_path,
        *("--attack-norm", "l2", "--attack-eps", "2", "--attack-alpha", "1/2"),
        *("--solver", "apgd", "--solver-param", "restarts=2", "--solver-param", "random_start=true"),
    )
    evaluation = record.spec.evaluation
    assert (evaluation.threat.norm, evaluation.threat.eps, evaluation.threat.alpha) == ("l2", 2.0, 0.5)
    assert (evaluation.solver.name, evaluation.solver.params) == ("apgd", {"restarts": 2, "random_start": True})
    assert evaluation.queries == 8
    assert record.attacked != made.record.attacked
    assert record.benign == made.record.benign
    assert "apgd" in rbdml("evaluate", made.checkpoint, "--out", tmp_path, "--solver", "apgd").out.lower()


def test_a_run_takes_the_same_options(tmp_path: Path) -> None:
    answer = rbdml(*RUN, "--out", tmp_path, "--json", "--solver", "fgsm", "--extra-attack", "ranking-margin")
    record = Record.model_validate_json(answer.out)
    assert record.spec.evaluation.solver.name == "fgsm"
    assert record.spec.evaluation.extra_attacks == ("ranking-margin",)
    assert list(record.attacked) == [*ATTACKED, "RM"]


def test_further_attacks_leave_the_others_and_the_score_alone(made: Made, tmp_path: Path) -> None:
    record = evaluated(made, tmp_path, "--extra-attack", "qa+m2", "--extra-attack", "smooth-recall")
    assert {name: record.attacked[name] for name in ATTACKED} == made.record.attacked
    assert record.scores == made.record.scores
    assert list(record.attacked) == [*ATTACKED, "QA+ M=2", "SR"]
    queries = read_queries(tmp_path / "glyphs-mini" / record.digest)
    assert record.attacked["QA+ M=2"] == pytest.approx(100 * float(np.mean(queries["QA+ M=2"])))


# Surrogates


def test_an_attack_found_on_the_model_itself_is_the_attack_on_it(made: Made, tmp_path: Path) -> None:
    own = evaluated(made, tmp_path, "--solver", "transfer", "--surrogate", made.checkpoint)
    assert own.attacked == pytest.approx(made.record.attacked, abs=1e-3)
    loaded = load_checkpoint(made.checkpoint, device=torch.device("cpu"))
    assert own.spec.evaluation.surrogate == weights_hash(loaded.embedder)[:16]


def test_an_attack_from_another_model_is_weaker_and_names_it(made: Made, tmp_path: Path) -> None:
    """From Python with the same names; a transferred attack cannot be repeated without its surrogate."""
    other = rbdml(*RUN, "--seed", "1", "--out", tmp_path / "other", "--quiet").out.strip()
    surrogate = Path(other) / "checkpoint.safetensors"
    settings: Any = {"queries": 8, "steps": 1, "solver": "transfer", "surrogate": str(surrogate)}
    common: Any = {"device": "cpu", "quiet": True}
    record = api.run(
        "regular",
        "glyphs-mini",
        budget="200",
        out=tmp_path / "runs",
        training={"pairs": 16},
        evaluation=settings,
        **common,
    )
    assert record.provenance.weights == made.record.provenance.weights
    assert record.attacked["ES:D"] < made.record.attacked["ES:D"]
    [named] = find_records(tmp_path / "other")
    assert record.spec.evaluation.surrogate == named.provenance.weights[:16]
    found = api.evaluate(api.load_model(made.checkpoint), "glyphs-mini", **settings, **common)
    assert found.attacked == record.attacked
    checkpoint = tmp_path / "runs" / "glyphs-mini" / record.digest / "checkpoint.safetensors"
    again = ("evaluate", checkpoint, "--device", "cpu", "--out", tmp_path / "again")
    assert f"transfers from the surrogate {record.spec.evaluation.surrogate}: give" in refusal(rbdml(*again))


def test_only_the_surrogate_that_is_named_will_do_and_only_for_images_that_it_takes(made: Made) -> None:
    digits = made.record.provenance.weights[:16]
    evaluation = changed_evaluation(made.record.spec.evaluation, {"solver": "transfer", "surrogate": digits})
    place = RunContext(Path("runs"), DataPaths(), torch.device("cpu"), surrogate=made.checkpoint)
    shapes = (1, 28, 28), (3, 8, 8)
    splits = [Split(torch.zeros(2, *shape, dtype=torch.uint8), torch.arange(2)) for shape in shapes]
    ours, other = (Dataset("few", split, split, {}) for split in splits)
    assert place.surrogate_model(evaluation, ours) is not None
    assert place.surrogate_model(made.record.spec.evaluation, ours) is None
    with pytest.raises(RbdmlError, match=r"takes 1x28x28 images and 'few' has 3x8x8"):
        place.surrogate_model(evaluation, other)
    with pytest.raises(RbdmlError, match=f"is not the surrogate {digits[::-1]}"):
        place.surrogate_model(evaluation.model_copy(update={"surrogate": digits[::-1]}), ours)


BAD = {
    "l2 without lengths": (("--attack-norm", "l2"), "give --attack-eps and --attack-alpha too"),
    "l2 without a step": (("--attack-norm", "l2", "--attack-eps", "2"), "give --attack-alpha too"),
    "unknown norm": (("--attack-norm", "l1"), "'l1' is not one of 'linf', 'l2'"),
    "unknown solver": (("--solver", "pdg"), "solver 'pdg': did you mean 'pgd'?"),
    "unknown parameter": (("--solver-param", "restart=2"), "no parameter 'restart': did you mean 'restarts'?"),
    "no value": (("--solver-param", "restarts"), "'restarts' is not of the form name=value"),
    "unknown attack": (("--extra-attack", "esx"), "unknown attack 'esx': did you mean 'es'?"),
    "an attack twice": (("--extra-attack", "es"), "attack 'es' fills column ES:D"),
    "no surrogate": (("--solver", "transfer"), "give --surrogate CHECKPOINT"),
    "a surrogate for nothing": (("--surrogate", "{checkpoint}"), "leave --surrogate out"),
    "a surrogate that is missing": (("--solver", "transfer", "--surrogate", "absent"), "absent: no such checkpoint"),
}


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("command", ["run", "evaluate"])
@pytest.mark.parametrize(("arguments", "part"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line_before_anything_is_trained(
    made: Made, tmp_path: Path, command: str, arguments: tuple[str, ...], part: str
) -> None:
    begin = RUN if command == "run" else ("evaluate", made.checkpoint, "--device", "cpu")
    given = [argument.format(checkpoint=made.checkpoint) for argument in arguments]
    assert part in refusal(rbdml(*begin, "--out", tmp_path, *given))
    assert nothing_below(tmp_path)
