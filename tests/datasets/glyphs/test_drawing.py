from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from robustbench_dml.datasets.glyphs import drawing
from robustbench_dml.datasets.glyphs.drawing import Face, Jitter, draw, draw_jitter, read_fonts, render_class
from robustbench_dml.utils.errors import RbdmlError

STILL = Jitter(rotation=0, shear=0, scale=0.8, shift=(0, 0), paper=0, ink=1)
TEXT = st.text(min_size=1, max_size=20)


@pytest.fixture(scope="module")
def face() -> Face:
    """A font that every Matplotlib brings along."""
    import matplotlib

    return Face(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"))


def test_a_missing_font_names_its_package(tmp_path: Path) -> None:
    (tmp_path / "fonts.csv").write_text("font,split,package,file\na,train,fonts-a,/nowhere/a.ttf\n")
    with pytest.raises(RbdmlError, match="apt-get install fonts-a"):
        read_fonts(tmp_path / "fonts.csv")


@given(TEXT, TEXT)
def test_jitter_stays_within_its_ranges(character: str, font: str) -> None:
    jitter = draw_jitter(character, font)
    assert abs(jitter.rotation) <= drawing.ROTATION
    assert abs(jitter.shear) <= drawing.SHEAR
    assert drawing.SCALE[0] <= jitter.scale <= drawing.SCALE[1]
    assert max(map(abs, jitter.shift)) <= drawing.SHIFT
    assert drawing.PAPER[0] <= jitter.paper <= drawing.PAPER[1]
    assert drawing.INK[0] <= jitter.ink <= drawing.INK[1]


@given(TEXT, TEXT)
def test_jitter_depends_on_character_and_font_alone(character: str, font: str) -> None:
    assert draw_jitter(character, font) == draw_jitter(character, font)
    assert draw_jitter(character, font) != draw_jitter(character, f"{font}x")
    assert draw_jitter(character, font) != draw_jitter(f"{character}x", font)


def test_jitter_covers_its_ranges_evenly() -> None:
    draws = [draw_jitter("a", str(number)) for number in range(2_000)]
    for values, width in (
        ([d.rotation for d in draws], drawing.ROTATION),
        ([d.shear for d in draws], drawing.SHEAR),
        ([d.shift[0] for d in draws], drawing.SHIFT),
        ([d.shift[1] for d in draws], drawing.SHIFT),
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
        render_class("A", [], {}, count=60, side=28)


def test_a_tiny_glyph_is_not_enlarged_without_bound(face: Face) -> None:
    glyph = face.glyph(".", 100_000)
    assert glyph is not None
    assert max(glyph.size) < drawing.MOST_EM
