"""The scripts that chose and rendered `glyphs`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from support import pixels

from robustbench_dml.datasets import glyphs
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.glyphs.drawing import Font, render_class
from robustbench_dml.utils.errors import RbdmlError


@pytest.fixture
def choose(folder: None) -> Any:
    return import_module("glyphs.choose")


@pytest.fixture
def render(folder: None) -> Any:
    return import_module("glyphs.render")


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_script_gives_the_shipped_images(split: str, render: Any) -> None:
    try:
        fonts = [font for font in render.checked_fonts() if font.split == split]
    except RbdmlError as error:
        pytest.skip(str(error))
    shipped = pixels(getattr(glyphs.load(DataPaths()), split)).reshape(-1, glyphs.PER_CLASS, 28, 28)
    for label in (0, 75, 147):
        character = render.classes_of(split)[label]
        found = render_class(character, fonts, {}, count=glyphs.PER_CLASS, side=28)
        assert np.array_equal(found, shipped[label].numpy()), f"{character}: was FreeType or Pillow updated?"


def test_another_version_of_a_font_is_refused(tmp_path: Path, render: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ttf").write_bytes(b"newer")
    (tmp_path / "fonts.csv").write_text(f"font,split,package,file,sha256\na,train,fonts-a,{tmp_path / 'a.ttf'},0\n")
    monkeypatch.setattr(render, "FONTS", tmp_path / "fonts.csv")
    with pytest.raises(SystemExit, match=r"another version.*fonts-a"):
        render.checked_fonts()


def test_sheets_show_classes_side_by_side(render: Any) -> None:
    images = np.random.default_rng(0).integers(0, 255, (100, 60, 28, 28), dtype=np.uint8)
    first, second = render.draw_sheets(images)
    assert first.size == second.size
    assert np.array_equal(np.asarray(first)[:28, :28], images[0, 0])


def test_the_first_of_two_twins_stays(choose: Any) -> None:
    alike = np.array([[1, 0.95, 0.2], [0.95, 1, 0.96], [0.2, 0.96, 1]])
    assert choose.drop_alike("abc", alike, 0.9) == ([0, 2], {1: 0})


def test_twins_correlate_and_other_letters_do_not(choose: Any) -> None:
    file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    font = Font(font="DejaVuSans", split="train", package="", file=str(file))
    seen = choose.shapes(font, "A\u0410B")[None]  # Latin, Cyrillic, Latin
    alike = choose.correlations(seen)
    assert alike[0, 1] > 0.99
    assert alike[0, 2] < 0.8


def test_confusion_counts_neighbours_of_other_fonts_alone(choose: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(8, 3, 40)).astype(np.float32) * 0.1
    shapes[:, :2, 0] += 1  # the first two look alike, the third does not
    shapes[:, 2, 1] += 1
    shapes /= np.linalg.norm(shapes, axis=-1, keepdims=True)
    shares = choose.confusions(shapes)
    assert shares[0, 1] > 0.5
    assert shares[0, 2] < 0.2


def test_a_character_goes_to_the_split_whose_fonts_have_it(choose: Any) -> None:
    both, one = {"train": 60, "test": 60}, {"train": 10, "test": 60}
    support = {**{chr(65 + number): both for number in range(10)}, "x": one, "y": one}
    halves = choose.split_classes(support)
    assert halves["x"] == halves["y"] == "test"
    assert list(halves.values()).count("train") == 6
    assert len(choose.split_classes({"A": both, "B": both, "C": both})) == 2
