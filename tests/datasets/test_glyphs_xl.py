from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from robustbench_dml.datasets import glyphs_xl
from robustbench_dml.datasets.base import DataPaths, DownloadRequest
from robustbench_dml.datasets.status import prepare_dataset
from robustbench_dml.spec.registry import BACKBONES, DATASETS
from robustbench_dml.utils.errors import MissingDataError, RbdmlError
from robustbench_dml.utils.files import sha256


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a set of 3 / 3 classes of 2 images, in fonts that Matplotlib brings along."""
    import matplotlib

    root = tmp_path_factory.mktemp("xl")
    fonts = Path(matplotlib.get_data_path()) / "fonts/ttf"
    rows = [("train", "DejaVuSans"), ("train", "DejaVuSerif"), ("test", "DejaVuSansMono"), ("test", "STIXGeneral")]
    lines = [f"{name},{split},fonts-some,{fonts / name}.ttf" for split, name in rows]
    (root / "fonts.csv").write_text("\n".join(["font,split,package,file", *lines]))
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch, root)
        glyphs_xl.prepare(DataPaths(root), DownloadRequest())
    return root


@pytest.fixture
def small(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that may be damaged."""
    make_small(monkeypatch, rendered)
    shutil.copytree(rendered, tmp_path / "root")
    return tmp_path / "root"


def make_small(patch: pytest.MonkeyPatch, root: Path) -> None:
    patch.setattr(glyphs_xl, "PER_CLASS", 2)
    patch.setattr(glyphs_xl, "CLASSES", 3)
    patch.setattr(glyphs_xl, "SHAPE", (6, 64, 64))
    patch.setattr(glyphs_xl, "FONTS", root / "fonts.csv")
    patch.setattr(glyphs_xl, "candidates", lambda: {**dict.fromkeys("ABCDEF", 2), **dict.fromkeys("123", 1)})


def test_candidates_are_han_and_hangul_of_common_standards() -> None:
    counts = Counter(glyphs_xl.candidates().values())
    assert counts == {glyphs_xl.HAN: 6_356, glyphs_xl.HANGUL: 2_350}


def test_classes_are_disjoint_and_drawn_by_enough_fonts() -> None:
    wanted = {**dict.fromkeys("ABCDEFG", 2), **dict.fromkeys("123", 1)}
    support = {name: Counter(dict.fromkeys("ABCDEF123", 16) | {"G": 15}) for name in ("train", "test")}
    classes = glyphs_xl.choose_classes(support, wanted)
    assert not set(classes["train"]) & set(classes["test"])
    assert "G" not in classes["train"] + classes["test"]
    assert [len(classes[name]) for name in ("train", "test")] == [3, 3]


def test_too_few_characters_are_refused() -> None:
    support = {name: Counter(dict.fromkeys("AB", 16)) for name in ("train", "test")}
    with pytest.raises(RbdmlError, match="2 of 4 characters"):
        glyphs_xl.choose_classes(support, dict.fromkeys("ABCD", 2))


def test_rendered_images_load(small: Path) -> None:
    data = glyphs_xl.load(DataPaths(small))
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test.labels.tolist() == [3, 3, 4, 4, 5, 5]
    assert data.image_shape == (3, 64, 64)
    batch = data.test.batch(torch.tensor([0, 5]))
    assert batch.shape == (2, 3, 64, 64)
    assert torch.equal(batch[:, 0], batch[:, 2])
    assert batch[0].max() > 0.5
    assert BACKBONES.get(DATASETS.get("glyphs-xl").backbone).takes(data.image_shape)


def test_the_index_names_classes_fonts_and_hashes(small: Path) -> None:
    index = json.loads((small / "glyphs-xl/index.json").read_text(encoding="utf-8"))
    assert len(set(index["classes"]["train"] + index["classes"]["test"])) == 6
    assert len(index["fonts"]) == 4
    assert index["hashes"] == glyphs_xl.load(DataPaths(small)).hashes


def test_rendering_again_gives_the_same_hashes(small: Path, tmp_path: Path) -> None:
    glyphs_xl.prepare(DataPaths(tmp_path / "again"), DownloadRequest())
    assert glyphs_xl.load(DataPaths(tmp_path / "again")).hashes == glyphs_xl.load(DataPaths(small)).hashes


def test_a_set_that_is_there_is_kept(small: Path) -> None:
    before = (small / "glyphs-xl/train.npy").stat().st_mtime_ns
    glyphs_xl.prepare(DataPaths(small), DownloadRequest())
    assert (small / "glyphs-xl/train.npy").stat().st_mtime_ns == before


def test_missing_fonts_are_refused_with_their_packages(small: Path, tmp_path: Path) -> None:
    (tmp_path / "fonts.csv").write_text("font,split,package,file\na,train,fonts-some,/nowhere/a.ttf\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs_xl, "FONTS", tmp_path / "fonts.csv")
        with pytest.raises(RbdmlError, match="apt-get install fonts-some"):
            prepare_dataset("glyphs-xl", DataPaths(tmp_path / "new"), DownloadRequest())


def test_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match="leave --from and --url out"):
        glyphs_xl.prepare(DataPaths(tmp_path), DownloadRequest(source=tmp_path))


def test_a_missing_set_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="rbdml data prepare glyphs-xl"):
        glyphs_xl.load(DataPaths(tmp_path))


@pytest.mark.parametrize(
    ("file", "content"),
    [("index.json", b"{"), ("index.json", b"[]"), ("index.json", b"\xff"), ("test.npy", b"")],
)
def test_a_damaged_file_is_refused(file: str, content: bytes, small: Path) -> None:
    (small / "glyphs-xl" / file).write_bytes(content)
    with pytest.raises(RbdmlError, match=rf"{file}.*rbdml data prepare glyphs-xl") as refused:
        glyphs_xl.load(DataPaths(small))
    assert "\n" not in str(refused.value)


def test_a_missing_split_is_refused(small: Path) -> None:
    (small / "glyphs-xl/train.npy").unlink()
    with pytest.raises(RbdmlError, match=r"train\.npy: cannot be read"):
        glyphs_xl.load(DataPaths(small))


def test_images_of_another_shape_are_refused(small: Path) -> None:
    folder = small / "glyphs-xl"
    np.save(folder / "test.npy", np.zeros((2, 2), np.uint8))
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    index["hashes"]["test"] = sha256(folder / "test.npy")
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(RbdmlError, match=r"test.npy: uint8 \(2, 2\) instead"):
        glyphs_xl.load(DataPaths(small))


def test_placeholders_do_not_count() -> None:
    import matplotlib

    file = str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")
    assert glyphs_xl.drawn_characters(file, "AB \u4e00\u4e01") == {"A", "B"}  # the font lacks Han
