"""Render the data set from the fonts of Debian 12.

    python -m robustbench_dml.datasets.glyphs.render [--out FOLDER]

It writes four gzipped IDX files and prints their hashes for `__init__.py`. `fonts.csv` names the packages to
install. Each image depends only on its character and font. The same fonts and FreeType give the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from robustbench_dml.datasets.glyphs.drawing import RANGES, Face, Ranges, draw, draw_jitter
from robustbench_dml.datasets.glyphs.tables import (
    CHARACTERS,
    FOLDER,
    PER_CLASS,
    SPLITS,
    Font,
    check_fonts,
    read_fonts,
    read_table,
)
from robustbench_dml.datasets.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, format_idx
from robustbench_dml.utils.errors import RbdmlError

SIDE = 28
FILES = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}


def fonts_for(character: str, fonts: Iterable[Font], count: int = PER_CLASS) -> list[Font]:
    """Fonts that have the character of a class, in the order of the SHA-256 of both names."""

    def digest(font: Font) -> bytes:
        return hashlib.sha256(f"{character}\0{font.font}\0chosen".encode()).digest()

    return sorted((font for font in fonts if character in font.characters), key=digest)[:count]


def render_class(
    character: str,
    fonts: Sequence[Font],
    faces: dict[str, Face],
    *,
    count: int = PER_CLASS,
    side: int = SIDE,
    ranges: Ranges = RANGES,
) -> np.ndarray:
    """(count, side, side) uint8 images of one class.

    Args:
        character: the character drawn.
        fonts: the fonts to choose from.
        faces: open fonts by file; filled here.
        count: number of images, each in another font.
        side: image side in pixels.
        ranges: ranges of the jitter.

    Raises:
        RbdmlError: too few fonts can draw the character.
    """
    images = []
    for font in fonts_for(character, fonts, len(fonts)):
        face = faces.setdefault(font.file, Face(font.file))
        image = draw(face, character, draw_jitter(character, font.font, ranges), side)
        if image is not None:
            images.append(image)
        if len(images) == count:
            return np.stack(images)
    raise RbdmlError(f"{character!r}: {len(images)} of {count} fonts draw it: choose another character")


def classes_of(split: str) -> list[str]:
    """Characters of a split; their positions are the labels in the split's files."""
    return [row["character"] for row in read_table(CHARACTERS) if row["split"] == split]


def render_split(split: str, fonts: Sequence[Font]) -> tuple[np.ndarray, np.ndarray]:
    """(N, SIDE, SIDE) images and (N,) labels from 0, sorted by class."""
    own = [font for font in fonts if font.split == split]
    faces: dict[str, Face] = {}
    images = [render_class(character, own, faces) for character in classes_of(split)]
    return np.concatenate(images), np.repeat(np.arange(len(images)), PER_CLASS)


def main() -> None:
    """Write the four files and print their hashes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out = parser.parse_args().out
    fonts = read_fonts()
    check_fonts(fonts)
    for split in SPLITS:
        for name, array in zip(FILES[split], render_split(split, fonts), strict=True):
            content = format_idx(array)
            (out / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
            print(name, hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
