from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support import pixels

from robustbench_dml.datasets import glyphs
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.glyphs import choose, drawing, render, sheets
from robustbench_dml.datasets.glyphs.drawing import RANGES, Face, Jitter, draw, draw_jitter
from robustbench_dml.datasets.glyphs.tables import PER_CLASS, Font, check_fonts, read_fonts, supporting
from robustbench_dml.utils.errors import RbdmlError

STILL = Jitter(rotation=0, shear=0, scale=0.8, shift=(0, 0), paper=0, ink=1)
TEXT = st.text(min_size=1, max_size=20)


@pytest.fixture(scope="module")
def fonts() -> list[Font]:
    """All fonts of the data set."""
    fonts = read_fonts()
    try:
        check_fonts(fonts)
    except RbdmlError as error:
        pytest.skip(str(error))
    return fonts


@pytest.fixture(scope="module")
def face() -> Face:
    """A font that every Matplotlib brings along."""
    import matplotlib

    return Face(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"))


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_script_gives_the_shipped_images(split: str, fonts: list[Font]) -> None:
    own = [font for font in fonts if font.split == split]
    shipped = getattr(glyphs.load(DataPaths()), split)
    for label in (0, 75, 147):
        character = render.classes_of(split)[label]
        first, second = (render.render_class(character, own, {}) for _ in range(2))
        assert np.array_equal(first, second)
        stored = pixels(shipped)[PER_CLASS * label : PER_CLASS * (label + 1), 0].numpy()
        assert np.array_equal(first, stored), f"{character}: other pixels; was FreeType or Pillow updated?"


def test_every_class_draws_sixty_different_fonts_that_have_it(fonts: list[Font]) -> None:
    for split in ("train", "test"):
        own = [font for font in fonts if font.split == split]
        for character in render.classes_of(split):
            chosen = render.fonts_for(character, own)
            assert len({font.font for font in chosen}) == PER_CLASS
            assert all(character in font.characters for font in chosen)


def test_a_missing_font_names_its_package(tmp_path: Path) -> None:
    font = Font(font="a", split="train", package="fonts-a", file=str(tmp_path / "a.ttf"), sha256="")
    with pytest.raises(RbdmlError, match="apt-get install fonts-a"):
        check_fonts([font])


def test_another_version_of_a_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.ttf").write_bytes(b"newer")
    font = Font(font="a", split="train", package="fonts-a", file=str(tmp_path / "a.ttf"), sha256="0")
    with pytest.raises(RbdmlError, match="another version"):
        check_fonts([font])


@given(TEXT, TEXT)
def test_jitter_stays_within_its_ranges(character: str, font: str) -> None:
    jitter = draw_jitter(character, font)
    assert abs(jitter.rotation) <= RANGES.rotation
    assert abs(jitter.shear) <= RANGES.shear
    assert RANGES.scale[0] <= jitter.scale <= RANGES.scale[1]
    assert max(map(abs, jitter.shift)) <= RANGES.shift
    assert RANGES.paper[0] <= jitter.paper <= RANGES.paper[1]
    assert RANGES.ink[0] <= jitter.ink <= RANGES.ink[1]


@given(TEXT, TEXT)
def test_jitter_depends_on_character_and_font_alone(character: str, font: str) -> None:
    assert draw_jitter(character, font) == draw_jitter(character, font)
    assert draw_jitter(character, font) != draw_jitter(character, f"{font}x")
    assert draw_jitter(character, font) != draw_jitter(f"{character}x", font)


def test_jitter_covers_its_ranges_evenly() -> None:
    draws = [draw_jitter("a", str(number)) for number in range(2_000)]
    for values, width in (
        ([d.rotation for d in draws], RANGES.rotation),
        ([d.shear for d in draws], RANGES.shear),
        ([d.shift[0] for d in draws], RANGES.shift),
        ([d.shift[1] for d in draws], RANGES.shift),
    ):
        assert abs(np.mean(values)) < 0.05 * width
        assert np.std(values) == pytest.approx(width / math.sqrt(3), rel=0.05)


@given(st.integers(1, 300), st.integers(1, 300), TEXT)
def test_a_glyph_never_leaves_the_image(width: int, height: int, font: str) -> None:
    a, b, x, c, d, y = drawing.placement((width, height), draw_jitter("a", font), 112)
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - [x, y]
    seen = corners @ np.linalg.inv([[a, b], [c, d]]).T
    assert seen.min() > -1e-6
    assert seen.max() < 112 + 1e-6


@settings(deadline=None, max_examples=50)
@given(st.sampled_from("Aig.-Щ§|"), TEXT)
def test_grey_levels_lie_between_paper_and_ink(face: Face, character: str, font: str) -> None:
    jitter = draw_jitter(character, font)
    image = draw(face, character, jitter, 28)
    assert image is not None
    assert image.shape == (28, 28)
    assert image.min() == round(255 * jitter.paper)
    assert image.min() < image.max() <= round(255 * jitter.ink)


def test_a_glyph_is_centred_and_scaled_by_its_box(face: Face) -> None:
    for character in "H.-":
        image = draw(face, character, STILL, 50)
        assert image is not None
        box = Image.fromarray(image).getbbox()
        assert box is not None
        left, top, right, bottom = box
        assert max(right - left, bottom - top) == pytest.approx(40, abs=2)
        assert (left + right) / 2 == pytest.approx(25, abs=1)
        assert (top + bottom) / 2 == pytest.approx(25, abs=1)


def test_rotation_shear_and_shift_move_the_glyph(face: Face) -> None:
    def moments(jitter: Jitter) -> tuple[np.ndarray, np.ndarray]:
        image = draw(face, "I", jitter, 64)
        assert image is not None
        points = np.argwhere(image > 0).astype(float)
        return points.mean(0), np.cov(points.T)

    centre, spread = moments(STILL)
    shifted, _ = moments(Jitter(rotation=0, shear=0, scale=0.8, shift=(0.05, -0.05), paper=0, ink=1))
    assert shifted - centre == pytest.approx([-3.2, 3.2], abs=0.6)
    assert abs(spread[0, 1]) < 1
    for jitter in (
        Jitter(rotation=12, shear=0, scale=0.8, shift=(0, 0), paper=0, ink=1),
        Jitter(rotation=0, shear=-0.2, scale=0.8, shift=(0, 0), paper=0, ink=1),
    ):
        assert abs(moments(jitter)[1][0, 1]) > 10


def test_an_empty_glyph_is_recognised(face: Face) -> None:
    assert draw(face, " ", STILL, 28) is None


def test_a_class_with_too_few_fonts_is_refused() -> None:
    with pytest.raises(RbdmlError, match="0 of 60 fonts draw it"):
        render.render_class("A", [], {})


def test_a_tiny_glyph_is_not_enlarged_without_bound(face: Face) -> None:
    glyph = face.glyph(".", 100_000)
    assert glyph is not None
    assert max(glyph.size) < drawing.MOST_EM


def test_the_first_of_two_twins_stays() -> None:
    alike = np.array([[1, 0.95, 0.2], [0.95, 1, 0.96], [0.2, 0.96, 1]])
    assert choose.drop_alike("abc", alike, 0.9) == ([0, 2], {1: 0})


def test_twins_correlate_and_other_letters_do_not(face: Face) -> None:
    font = Font(font="DejaVuSans", split="train", package="", file=face.path, sha256="")
    seen = choose.shapes(font, "A\u0410B")[None]  # Latin, Cyrillic, Latin
    alike = choose.correlations(seen)
    assert alike[0, 1] > 0.99
    assert alike[0, 2] < 0.8


def test_confusion_counts_neighbours_of_other_fonts_alone() -> None:
    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(8, 3, 40)).astype(np.float32) * 0.1
    shapes[:, :2, 0] += 1  # the first two look alike, the third does not
    shapes[:, 2, 1] += 1
    shapes /= np.linalg.norm(shapes, axis=-1, keepdims=True)
    shares = choose.confusions(shapes)
    assert shares[0, 1] > 0.5
    assert shares[0, 2] < 0.2


def test_a_character_goes_to_the_split_whose_fonts_have_it() -> None:
    both, one = {"train": 60, "test": 60}, {"train": 10, "test": 60}
    support = {**{chr(65 + number): both for number in range(10)}, "x": one, "y": one}
    halves = choose.split_classes(support)
    assert halves["x"] == halves["y"] == "test"
    assert list(halves.values()).count("train") == 6
    assert len(choose.split_classes({"A": both, "B": both, "C": both})) == 2


def test_candidates_are_visible_and_plain_letters_come_first() -> None:
    found = choose.candidates()
    assert found[:3] == ["0", "1", "2"]
    assert " " not in found
    assert found.index("A") < found.index("\u0391") < found.index("Á") < found.index("!")


def test_fonts_that_have_a_character_are_counted(fonts: list[Font]) -> None:
    assert supporting(fonts, ["A", "\uffff"]) == {"A": {"train": 76, "test": 76}, "\uffff": {"train": 0, "test": 0}}


def test_sheets_show_classes_side_by_side() -> None:
    images = torch.randint(0, 255, (100, 60, 28, 28), dtype=torch.uint8).numpy()
    first, second = sheets.draw_sheets(images)
    assert first.size == second.size
    assert np.array_equal(np.asarray(first)[:28, :28], images[0, 0])
