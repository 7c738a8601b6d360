"""Adversarial images that lower the radii of an entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_support import rbdml, refusal
from submission_support import enter, true_run
from torch import Tensor

from robustbench_dml.leaderboard.best_known import SHOWN_FILE, best_known
from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.leaderboard.entries import read_all, read_listed
from robustbench_dml.report.per_query import read_values
from robustbench_dml.runs.record import CHECKPOINT_FILE, read_record
from robustbench_dml.runs.saved_attack import read_attack
from robustbench_dml.utils.tensors import read_tensors, write_tensors

QUERIES = ("--queries", "12", "--attack-eps", "8/255", "--device", "cpu")
WEAK = ("rounds=1", "steps=1", "square_queries=1", "per_octave=1")
STRONG = ("rounds=1", "steps=25", "square_queries=1", "per_octave=2")
Tensors = dict[str, Tensor]


def params(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--solver-param", pair)]


@pytest.fixture(scope="module")
def weak(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a weak search for radii."""
    command = ["evaluate", str(run / CHECKPOINT_FILE), "--protocol", "radius", *QUERIES, *params(*WEAK)]
    return true_run(tmp_path_factory.mktemp("weak"), *command)


@pytest.fixture(scope="module")
def saved(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of a stronger search."""
    folder = tmp_path_factory.mktemp("saved") / "attack"
    answer = rbdml("attack", run / CHECKPOINT_FILE, "--save", folder, *QUERIES, *params(*STRONG))
    assert answer.code == 0, answer.err
    assert "images, mean radius" in answer.out
    return folder / "attack.safetensors"


def submit(file: Path, run: Path, board: Path, *more: str) -> tuple[int, str]:
    checkpoint = run / CHECKPOINT_FILE
    answer = rbdml("submit", "--attack", file, "--checkpoint", checkpoint, "--boards", board, "--yes", *more)
    return (0, answer.out) if answer.code == 0 else (2, refusal(answer))


def test_saved_images_lie_within_their_radii(saved: Path, weak: Path) -> None:
    found = read_attack(saved)
    assert 0 < len(found.query) <= 12
    assert set(found.query.tolist()) <= set(read_values(read_record(weak), weak)["query"].tolist())
    assert float(found.radii.min()) > 0
    assert float(found.radii.max()) <= 8 / 255
    assert bool(((found.images >= 0) & (found.images <= 1)).all())


def test_each_query_counts_with_the_smallest_radius_shown(
    run: Path, weak: Path, saved: Path, board: Path, built: list[Path]
) -> None:
    folder = enter(board, weak)
    code, text = submit(saved, run, board)
    assert code == 0, text
    assert "radii are lower" in text
    assert built == [board]
    listed = read_listed(folder)
    before, (record, after) = read_values(listed.record, folder), best_known(listed, read_all(board))
    shown = read_attack(saved)
    expected = dict(zip(before["query"].tolist(), before["MR:Q"].tolist(), strict=True))
    for query, radius in zip(shown.query.tolist(), shown.radii.tolist(), strict=True):
        expected[query] = min(expected[query], radius)
    assert after["MR:Q"].tolist() == list(expected.values())
    assert (after["MR:Q"] <= before["MR:Q"]).all()
    assert record.primary_score == pytest.approx(255 * after["MR:Q"].mean())
    assert record.primary_score < listed.record.primary_score
    assert all(np.array_equal(after[name], before[name]) for name in before if name[:2] not in ("MR", "r5", "R@"))
    (row,) = read_boards(board)[0].rows
    assert row.records[0].primary_score == record.primary_score
    low, high = row.records[0].intervals["MR"]
    assert low <= record.primary_score <= high
    code, text = submit(saved, run, board)
    assert code == 2
    assert "nothing to do" in text


def test_other_evaluations_of_the_same_weights_count(run: Path, weak: Path, tmp_path: Path, board: Path) -> None:
    one = read_listed(enter(board, weak))
    stronger = read_values(one.record, one.folder)
    stronger["MR:Q"] = stronger["MR:Q"] / 2
    other = replace(one, folder=tmp_path / "other")
    alone = best_known(one, [one])[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "robustbench_dml.leaderboard.best_known.read_values",
            lambda record, folder: stronger if folder == other.folder else read_values(record, folder),
        )
        both = best_known(one, [one, other])[1]
        deployed = other.record.spec.model_copy(update={"defense": "pixels"})  # the same weights, another model
        elsewhere = replace(other, record=other.record.model_copy(update={"spec": deployed}))
        apart = best_known(one, [one, elsewhere])[1]
        autorank = {"query": stronger["query"], "AR:Q": np.zeros(len(stronger["query"]))}
        patch.setattr(
            "robustbench_dml.leaderboard.best_known.read_values",
            lambda record, folder: autorank if folder == other.folder else read_values(record, folder),
        )
        capped = best_known(one, [one, other])[1]
    assert np.array_equal(both["MR:Q"], alone["MR:Q"] / 2)
    assert np.array_equal(apart["MR:Q"], alone["MR:Q"])
    assert np.array_equal(capped["MR:Q"], alone["MR:Q"].clip(max=one.record.spec.evaluation.threat.eps))


def at(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, name: change(tensors[name])}


def first(value: float) -> Callable[[Tensor], Tensor]:
    """The same with this value at the first place."""
    return lambda tensor: (
        tensor.flatten().index_put((torch.tensor([0]),), torch.tensor(value).to(tensor)).view_as(tensor)
    )


BAD: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "not a number": (at("images", first(torch.nan)), "not finite"),
    "outside of the range": (at("images", first(1.5)), "leaves"),
    "outside of the ball": (at("radii", first(1e-9)), "farther away"),
    "a radius of 0": (at("radii", first(0.0)), "not above 0"),
    "an infinite radius": (at("radii", first(torch.inf)), "not finite"),
    "rows of another list": (at("query", lambda rows: rows + 1), "is none of"),
    "a row twice": (at("query", lambda rows: torch.cat([rows[1:2], rows[1:]])), "do not rise"),
    "a row too few": (at("query", lambda rows: rows[1:]), "needs query"),
    "something else": (lambda tensors: {"weight": tensors["images"]}, "not a file of"),
    "images of another size": (at("images", lambda images: images[..., 1:]), "images of"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_and_nothing_is_written(
    case: str, run: Path, weak: Path, saved: Path, board: Path, tmp_path: Path
) -> None:
    change, message = BAD[case]
    tensors, text = read_tensors(saved)
    write_tensors(tmp_path / "bad.safetensors", change(tensors), text)
    folder = enter(board, weak)
    code, said = submit(tmp_path / "bad.safetensors", run, board)
    assert code == 2
    assert message in said
    assert not (folder / SHOWN_FILE).exists()


def test_an_image_that_breaks_nothing_is_refused(
    run: Path, weak: Path, saved: Path, board: Path, tmp_path: Path
) -> None:
    from robustbench_dml.datasets.base import DataPaths
    from robustbench_dml.datasets.status import load_dataset

    tensors, text = read_tensors(saved)
    tensors["images"] = load_dataset(text["dataset"], DataPaths()).test.batch(tensors["query"])
    write_tensors(tmp_path / "bad.safetensors", tensors, text)
    enter(board, weak)
    assert "does not break its query" in submit(tmp_path / "bad.safetensors", run, board)[1]


def test_an_attack_of_other_weights_is_refused(run: Path, second: Path, weak: Path, saved: Path, board: Path) -> None:
    enter(board, weak)
    assert "of other weights" in submit(saved, second, board)[1]


def test_without_an_entry_or_a_checkpoint_nothing_is_lowered(run: Path, saved: Path, board: Path) -> None:
    assert "no entry under the protocol 'radius'" in submit(saved, run, board)[1]
    assert "give them with --checkpoint" in refusal(rbdml("submit", "--attack", saved, "--boards", board))
    assert "one of the two" in refusal(rbdml("submit", "--boards", board))


def test_what_is_saved_needs_a_checkpoint_alone(run: Path, saved: Path, tmp_path: Path) -> None:
    checkpoint = run / CHECKPOINT_FILE
    assert "exists already" in refusal(rbdml("attack", checkpoint, "--save", saved.parent, *QUERIES))
    assert "neither" in refusal(rbdml("attack", checkpoint, "--save", tmp_path / "new", "--query", "3"))
    assert "nothing to draw" in refusal(rbdml("attack", checkpoint))
