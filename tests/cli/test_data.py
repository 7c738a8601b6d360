"""`rbdml data`: status and preparation of data sets."""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from cli_support import RUN, Answer, files_below, nothing_below, rbdml, refusal
from image_trees import (
    Tree,
    bare_machine,
    register_tree,
    registered_counts,
    write_cub,
    write_folder,
    write_image,
    write_sop,
)
from torch import nn

from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.spec.registry import BACKBONES, DATASETS, BackboneInfo


@pytest.fixture(autouse=True)
def no_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_machine(tmp_path, monkeypatch)


@pytest.fixture
def birds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    tree = write_cub(tmp_path / "data" / "CUB_200_2011")
    register_tree(monkeypatch, "cub", tree)
    return tree


@pytest.fixture
def products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Unpacked, away from any data folder."""
    tree = write_sop(tmp_path / "away" / "Stanford_Online_Products")
    register_tree(monkeypatch, "sop", tree)
    return tree


@pytest.fixture
def products_zip(tmp_path: Path, products: Tree) -> Path:
    archive = tmp_path / "tree.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in files_below(products.root):
            zipped.write(path, path.relative_to(products.root.parent))
    return archive


def row_of(name: str, root: Path, *more: str) -> dict[str, str]:
    answer = rbdml("data", "status", name, "--data-root", root, "--json", *more)
    assert (answer.code, answer.err) == (0, "")
    [row] = json.loads(answer.out)
    assert row["name"] == name
    return dict(row)


def lines_of(answer: Answer) -> dict[str, str]:
    """Lines of a table by their first word."""
    assert (answer.code, answer.err) == (0, "")
    return {line.split()[0]: line for line in answer.out.splitlines() if line.strip()}


def test_status_has_a_line_for_every_data_set(tmp_path: Path) -> None:
    lines = lines_of(rbdml("data", "status", "--data-root", tmp_path / "data"))
    assert set(lines) >= {info.name for info in DATASETS}
    assert "found" in lines["glyphs"] and "in memory" in lines["glyphs"]
    for name in ("cub", "cars", "sop", "mnist", "fashion"):
        assert "missing" in lines[name] and f"`rbdml data prepare {name}`" in lines[name]


def test_status_lists_the_named_sets_alone_and_in_order(tmp_path: Path) -> None:
    answer = rbdml("data", "status", "sop", "glyphs-mini", "cub", "--json", "--data-root", tmp_path)
    assert [row["name"] for row in json.loads(answer.out)] == ["sop", "glyphs-mini", "cub"]


def test_a_missing_set_names_its_download_command(tmp_path: Path) -> None:
    row = row_of("cub", tmp_path / "data")
    assert (row["state"], row["where"]) == ("missing", "`rbdml data prepare cub`")
    assert {row[key] for key in ("training", "test", "decoded", "SHA-256")} == {""}
    assert nothing_below(tmp_path)


def test_a_local_set_is_reported_as_table_and_json(birds: Tree) -> None:
    root = birds.root.parent
    row = row_of("cub", root)
    expected = {"state": "found", "where": str(birds.root), "training": "4 of 2", "test": "4 of 2"}
    assert row == {"name": "cub", **expected, "decoded": "not yet", "SHA-256": ""}
    line = lines_of(rbdml("data", "status", "cub", "--data-root", root))["cub"]
    for word in (*expected.values(), "not yet"):
        assert word in line
    DATASETS.get("cub").load(DataPaths(root))
    hashes = row_of("cub", root)["SHA-256"].split()
    assert [part.split(":")[0] for part in hashes] == ["train", "test"]
    assert {len(part.split(":")[1]) for part in hashes} == {64}
    assert row_of("cub", root, "--verify")["decoded"] == "kept"
    line = lines_of(rbdml("data", "status", "cub", "--data-root", root))["cub"]
    assert hashes[0][:18] in line and hashes[0] not in line  # a table has no room for all of it


def test_a_set_with_another_number_of_images_is_incomplete(birds: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    registered_counts(monkeypatch, "cub", train=(4, 2), test=(5, 2))
    row = row_of("cub", birds.root.parent)
    assert (row["state"], row["test"]) == ("incomplete", "4 of 2")


def test_a_set_with_damaged_lists_is_reported_with_the_reason(birds: Tree) -> None:
    (birds.root / "image_class_labels.txt").write_text("1 1\n2\n")
    row = row_of("cub", birds.root.parent)
    assert row["state"] == "damaged"
    assert "image_class_labels.txt, line 2: 1 columns instead of 2" in row["where"]


def test_damaged_files_of_digits_are_reported(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "mnist" / f"{name}-ubyte").write_bytes(b"\0" * 100)
    row = row_of("mnist", tmp_path)
    assert row["state"] == "damaged"
    assert "another SHA-256" in row["where"]


def test_verify_finds_decoded_images_that_changed(birds: Tree, tmp_path: Path) -> None:
    root = birds.root.parent
    assert rbdml("data", "prepare", "cub", "--data-root", root).code == 0
    path = next((tmp_path / "cache").rglob("pixels.u8"))
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    assert row_of("cub", root)["state"] == "found"
    row = row_of("cub", root, "--verify")
    assert row["state"] == "damaged"
    assert f"{path}: row 0 (images/" in row["where"]


def test_a_folder_of_the_user_has_a_status_too(tmp_path: Path) -> None:
    write_folder(tmp_path / "mine", per_class=3)
    name = f"folder:{tmp_path / 'mine'}"
    row = row_of(name, tmp_path)
    assert (row["state"], row["where"], row["training"]) == ("found", str(tmp_path / "mine"), "6 of 2")


def test_an_archive_is_prepared_and_its_folder_and_counts_are_printed(tmp_path: Path, products_zip: Path) -> None:
    answer = rbdml("data", "prepare", "sop", "--from", products_zip, "--data-root", tmp_path / "data")
    assert answer.code == 0
    where, summary = answer.out.splitlines()
    assert where == str(tmp_path / "data" / "sop" / "Stanford_Online_Products")
    counts = "6 training images of 3 classes, 4 test images of 2 classes"
    assert summary.startswith(f"{counts}; decoded: kept; SHA-256 train ")
    hashes = DATASETS.get("sop").status(DataPaths(tmp_path / "data")).hashes
    assert summary.endswith(f"train {hashes['train'][:12]}, test {hashes['test'][:12]}")
    assert "decoding 6 images of 'sop' once" in answer.err and "decoding 4 images of 'sop' once" in answer.err
    assert row_of("sop", tmp_path / "data")["decoded"] == "kept"


def test_quiet_prints_the_folder_alone(tmp_path: Path, products_zip: Path) -> None:
    for _ in range(2):  # the second finds everything done
        answer = rbdml("data", "prepare", "sop", "--from", products_zip, "--data-root", tmp_path / "data", "--quiet")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out == f"{tmp_path / 'data' / 'sop' / 'Stanford_Online_Products'}\n"


def test_without_a_cache_the_images_are_checked_and_not_kept(tmp_path: Path, products: Tree) -> None:
    answer = rbdml("data", "prepare", "sop", "--from", products.root, "--data-root", tmp_path / "data", "--no-cache")
    assert answer.code == 0
    assert "decoded: checked; SHA-256 train " in answer.out
    assert not list((tmp_path / "cache").rglob("pixels.u8"))
    (tmp_path / "data" / "sop" / products.test[0][0]).write_text("no image")
    again = rbdml("data", "prepare", "sop", "--data-root", tmp_path / "data", "--no-cache")
    assert f"{products.test[0][0]}: cannot be read as an image" in refusal(again)


def test_notes_on_a_copy_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write_sop(tmp_path / "data", per_class=1)
    register_tree(monkeypatch, "sop", tree)
    answer = rbdml("data", "prepare", "sop", "--data-root", tmp_path / "data")
    assert answer.code == 0
    assert "rbdml: sop: 3 training classes have one image and are left out of training" in answer.err
    assert "rbdml: sop: 2 test classes have one image and are in the gallery, but no queries" in answer.err


def test_an_interrupted_preparation_goes_on_by_the_same_command(birds: Tree, tmp_path: Path) -> None:
    command = ("data", "prepare", "cub", "--data-root", birds.root.parent)
    path = birds.root / birds.test[2][0]
    content = path.read_bytes()
    path.write_bytes(content[:50])
    assert f"{path}: cannot be read as an image" in refusal_after_decoding(rbdml(*command))
    assert row_of("cub", birds.root.parent)["decoded"] == "in part"
    path.write_bytes(content)
    again = rbdml(*command)
    assert again.code == 0
    assert "decoding" not in again.err  # the room is taken, and most of the work is done
    assert row_of("cub", birds.root.parent)["decoded"] == "kept"


def test_a_missing_image_is_reported_before_decoding(birds: Tree, tmp_path: Path) -> None:
    (birds.root / birds.test[2][0]).unlink()
    assert "missing image of 'cub'" in refusal(rbdml("data", "prepare", "cub", "--data-root", birds.root.parent))
    assert not (tmp_path / "cache").exists()


def refusal_after_decoding(answer: Answer) -> str:
    """The last line of the output; lines on decoding stand before it."""
    assert (answer.code, answer.out) == (2, "")
    *lines, last = answer.err.splitlines()
    assert all("decoding" in line for line in lines)
    return last


def test_a_preparation_without_a_terminal_shows_no_bar(birds: Tree) -> None:
    answer = rbdml("data", "prepare", "cub", "--data-root", birds.root.parent)
    assert "\r" not in answer.err and "%" not in answer.err
    shutil.rmtree(birds.root.parent.parent / "cache")
    assert "decode cub" in rbdml("data", "prepare", "cub", "--data-root", birds.root.parent, terminal=True).err


BAD = {
    "unknown name": (("prepare", "cubs"), "unknown data set 'cubs': did you mean 'cub'? `rbdml list datasets`"),
    "unknown name of a status": (("status", "cubs"), "unknown data set 'cubs': did you mean 'cub'?"),
    "source that is not there": (("prepare", "sop", "--from", "/no/tree.zip"), "/no/tree.zip: no such file or folder"),
    "source of an embedded set": (("prepare", "glyphs", "--from", "."), "not to be had from elsewhere"),
    "address of a strange kind": (("prepare", "cub", "--url", "ftp://x/y.tgz"), "cannot download from 'ftp://x/y.tgz'"),
    "no network": (("prepare", "cub", "--url", "http://127.0.0.1:9/a.tgz"), "CUB_200_2011.tgz could not be downloaded"),
    "no name": (("prepare",), "Missing argument 'NAME'"),
    "folder that is not there": (("prepare", "folder:/no/where"), "/no/where: cannot be read"),
    "status of a folder that is not there": (("status", "folder:/no/where"), "/no/where: cannot be read"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr("robustbench_dml.datasets.download.PAUSE", 0.0)
    assert message in refusal(rbdml("data", *arguments, "--data-root", tmp_path / "data"))
    assert not files_below(tmp_path)


def test_a_run_on_a_folder_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    said = refusal(rbdml(*RUN, "--dataset", "folder:/nonexistent", "--out", tmp_path / "runs"))
    assert "/nonexistent: cannot be read (No such file or directory): give folder:PATH" in said
    assert nothing_below(tmp_path)


def test_a_run_on_a_missing_set_names_its_download_command(tmp_path: Path) -> None:
    arguments = ("--dataset", "cub", "--backbone", "resnet18", "--no-pretrained", "--out", tmp_path / "runs")
    said = refusal(rbdml(*RUN, *arguments))
    assert "data set 'cub' is not on this machine" in said and "`rbdml data prepare cub`" in said


def test_a_changed_folder_is_not_answered_with_its_old_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = write_folder(tmp_path / "mine")
    monkeypatch.setitem(BACKBONES._entries, "resnet18", tiny())
    run = ("run", "--defense", "regular", "--dataset", f"folder:{tree.root}", "--no-pretrained", "--budget", "20")
    small = ("--pairs", "3", "--attack-steps", "1", "--out", tmp_path / "runs", "--quiet")
    first = rbdml(*run, *small)
    assert first.code == 0, first.err
    assert rbdml(*run, *small).out == first.out
    write_image(tree.root / tree.test[0][0], 77)
    assert "has changed since" in refusal(rbdml(*run, *small))
    assert rbdml(*run, *small, "--force").out == first.out
    checkpoint = Path(first.out.strip()) / "checkpoint.safetensors"
    monkeypatch.chdir(tree.root.parent)
    moved = Path(tree.root).rename(tmp_path / "elsewhere")
    again = rbdml("evaluate", checkpoint, "--dataset", "folder:elsewhere", "--out", tmp_path / "runs", "--json")
    assert json.loads(again.out)["spec"]["dataset"] == f"folder:{moved}", again.err


def tiny() -> BackboneInfo:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))
    return replace(BACKBONES.get("resnet18"), build=lambda: copy.deepcopy(network))
