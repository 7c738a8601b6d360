"""Draw characters in fonts as small grey images, jittered by a rule that anyone can repeat."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from robustbench_dml.utils.errors import RbdmlError

# Bounds of the uniform draws of `Jitter`; a single number is the bound to either side.
ROTATION, SHEAR, SHIFT = 15.0, 0.25, 0.25
SCALE, PAPER, INK = (0.45, 0.9), (0.0, 0.25), (0.6, 1.0)
FINE = 112  # pixels of a side at which glyphs are drawn, at least twice the image's; averaging reduces the drawing
LEVELS = 16  # levels of a pixel's coverage; fewer distinct bytes make the files a third smaller
EM = 128  # pixels of the em square at which a glyph is measured
MOST_EM = 2_048  # the largest size a dot or dash is enlarged to
MOST_SIZES = 64  # sizes of a font that stay open
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Font:
    """A row of a table of fonts.

    Attributes:
        only: the characters to draw with this font; None for all that the font maps to glyphs.
    """

    font: str
    split: str
    package: str
    file: str
    sha256: str = ""  # hash of the font file used to draw the images
    only: frozenset[str] | None = None

    @cached_property
    def characters(self) -> frozenset[str]:
        """Characters to draw with the font."""
        if self.only is not None:
            return self.only
        from fontTools.ttLib import TTFont

        with TTFont(self.file, fontNumber=0, lazy=True) as file:
            return frozenset(map(chr, file.getBestCmap() or {}))


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by column."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_fonts(path: Path) -> list[Font]:
    """The fonts in the order of the table.

    Raises:
        RbdmlError: some are not installed; the message names their packages.
    """
    rows = read_table(path)
    missing = sorted({row["package"] for row in rows if not Path(row["file"]).is_file()})
    if missing:
        raise RbdmlError(f"fonts are missing: `apt-get install {' '.join(missing)}` on Debian 12")
    return [Font(row["font"], row["split"], row["package"], row["file"], row.get("sha256", "")) for row in rows]


@dataclass(frozen=True)
class Jitter:
    """Random draws of one image.

    Attributes:
        rotation: degrees.
        shear: horizontal shift per unit of height.
        scale: share of the image's side that the glyph takes.
        shift: share of the image's side that the glyph moves by, in each direction.
        paper: grey level of the background.
        ink: grey level of the glyph.
    """

    rotation: float
    shear: float
    scale: float
    shift: tuple[float, float]
    paper: float
    ink: float


def draw_jitter(character: str, font: str) -> Jitter:
    """Jitter of one image, a function of its character and its font's name alone.

    The SHA-256 of both gives seven numbers of 32 bits. No library's generator takes part, so the draws never change.
    """
    digest = hashlib.sha256(f"{character}\0{font}".encode()).digest()
    draws = [int.from_bytes(digest[start : start + 4]) / 2**32 for start in range(0, 28, 4)]

    def between(low: float, high: float, draw: float) -> float:
        return low + (high - low) * draw

    return Jitter(
        rotation=between(-ROTATION, ROTATION, draws[0]),
        shear=between(-SHEAR, SHEAR, draws[1]),
        scale=between(*SCALE, draws[2]),
        shift=(between(-SHIFT, SHIFT, draws[3]), between(-SHIFT, SHIFT, draws[4])),
        paper=between(*PAPER, draws[5]),
        ink=between(*INK, draws[6]),
    )


class Face:
    """One font file at any size."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._sizes: dict[int, ImageFont.FreeTypeFont] = {}

    def glyph(self, character: str, side: int) -> Image.Image | None:
        """The glyph as an "L" image whose longer side is about `side` pixels; None for an empty glyph."""
        left, top, right, bottom = self._box(character, EM)
        longer = max(right - left, bottom - top)
        if right <= left or bottom <= top:
            return None
        size = min(MOST_EM, max(1, round(EM * side / longer)))
        left, top, right, bottom = self._box(character, size)
        image = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(image).text((-left, -top), character, fill=255, font=self._font(size))
        box = image.getbbox()
        return None if box is None else image.crop(box)

    def digest(self, character: str, size: int) -> bytes | None:
        """Hash of the glyph at a size in pixels, to compare glyphs; None for an empty glyph."""
        mask = self._font(size).getmask(character, mode="1")
        pixels = bytes(mask)
        return hashlib.sha256(repr(mask.size).encode() + pixels).digest() if any(pixels) else None

    def _box(self, character: str, size: int) -> Box:
        left, top, right, bottom = self._font(size).getbbox(character)
        return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)

    def _font(self, size: int) -> ImageFont.FreeTypeFont:
        if size not in self._sizes:
            if len(self._sizes) == MOST_SIZES:
                self._sizes.clear()
            layout = ImageFont.Layout.BASIC  # the other engine needs a library that not every Pillow has
            self._sizes[size] = ImageFont.truetype(self.path, size, layout_engine=layout)
        return self._sizes[size]


def draw(face: Face, character: str, jitter: Jitter, side: int) -> np.ndarray | None:
    """The jittered character.

    The glyph is scaled by its bounding box and never leaves the image.

    Args:
        face: font.
        character: a character that the font has.
        jitter: the image's jitter.
        side: image side in pixels.

    Returns:
        (side, side) uint8, or None for an empty glyph.
    """
    factor = max(2, FINE // side)
    fine = factor * side
    glyph = face.glyph(character, fine)
    if glyph is None:
        return None
    mask = glyph.transform((fine, fine), Image.Transform.AFFINE, placement(glyph.size, jitter, fine), _SMOOTH)
    coverage = np.rint(np.asarray(mask.reduce(factor), np.float64) * (LEVELS / 255)) / LEVELS
    return np.rint(255 * (jitter.paper + (jitter.ink - jitter.paper) * coverage)).astype(np.uint8)


_SMOOTH = Image.Resampling.BILINEAR


def placement(size: tuple[int, int], jitter: Jitter, fine: int) -> tuple[float, ...]:
    """Coefficients of PIL's affine transform: from a pixel of the image to the point of the glyph that it shows."""
    turn = math.radians(jitter.rotation)
    cos, sin = math.cos(turn), math.sin(turn)
    forward = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, jitter.shear], [0, 1]])
    extent = np.abs(forward) @ np.array(size, float)  # extent of the box after turning and shearing
    forward *= jitter.scale * fine / extent.max()
    margin = (1 - jitter.scale) * fine / 2
    shift = np.clip(np.array(jitter.shift) * fine, -margin, margin)
    back = np.linalg.inv(forward)
    offset = np.array(size) / 2 - back @ (fine / 2 + shift)
    return (back[0, 0], back[0, 1], offset[0], back[1, 0], back[1, 1], offset[1])


def render_class(character: str, fonts: Sequence[Font], faces: dict[str, Face], *, count: int, side: int) -> np.ndarray:
    """(count, side, side) uint8 images of one class, in the order of the SHA-256 of character and font.

    Args:
        character: the character drawn.
        fonts: the fonts to choose from.
        faces: open fonts by file; filled here.
        count: number of images, each in another font.
        side: image side in pixels.

    Raises:
        RbdmlError: too few fonts can draw the character.
    """

    def digest(font: Font) -> bytes:
        return hashlib.sha256(f"{character}\0{font.font}\0chosen".encode()).digest()

    images = []
    for font in sorted((font for font in fonts if character in font.characters), key=digest):
        face = faces.setdefault(font.file, Face(font.file))
        image = draw(face, character, draw_jitter(character, font.font), side)
        if image is not None:
            images.append(image)
        if len(images) == count:
            return np.stack(images)
    raise RbdmlError(f"{character!r}: {len(images)} of {count} fonts draw it: choose another character")
