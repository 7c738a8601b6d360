"""Render `glyphs` from the fonts of Debian 12, and draw contact sheets of it.

    python benchmarks/glyphs/render.py FOLDER

It writes four gzipped IDX files and the sheets of both splits, and prints the hashes of the uncompressed files for the
data set's `__init__.py`. `fonts.csv` names the packages to install. The same fonts and FreeType give the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from robustbench_dml.datasets.glyphs import EMBEDDED, PER_CLASS
from robustbench_dml.datasets.glyphs.drawing import Face, Font, read_fonts, read_table, render_class
from robustbench_dml.datasets.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, format_idx
from robustbench_dml.utils.files import sha256

FONTS = Path(__file__).parent / "fonts.csv"
CHARACTERS = EMBEDDED / "characters.csv"
FILES = {"train": (TRAIN_IMAGES, TRAIN_LABELS), "test": (TEST_IMAGES, TEST_LABELS)}
SIDE = 28
COLUMNS, ROWS, SHOWN = 4, 24, 12  # classes in a row and in a column of a sheet; images of each class


def checked_fonts() -> list[Font]:
    """The fonts, in the versions used to draw the images."""
    fonts = read_fonts(FONTS)
    other = next((font for font in fonts if sha256(Path(font.file)) != font.sha256), None)
    if other is not None:
        raise SystemExit(
            f"{other.file}: another version than the images were drawn with: install {other.package} of Debian 12"
        )
    return fonts


def classes_of(split: str) -> list[str]:
    """Characters of a split; their positions are the labels in the split's files."""
    return [row["character"] for row in read_table(CHARACTERS) if row["split"] == split]


def render_split(split: str, fonts: Sequence[Font]) -> np.ndarray:
    """(classes, PER_CLASS, SIDE, SIDE) images of a split."""
    own = [font for font in fonts if font.split == split]
    faces: dict[str, Face] = {}
    return np.stack(
        [render_class(character, own, faces, count=PER_CLASS, side=SIDE) for character in classes_of(split)]
    )


def draw_sheets(images: np.ndarray) -> list[Image.Image]:
    """Sheets of (classes, images, SIDE, SIDE) pixels; a grey gap separates the classes."""
    sheets = []
    for start in range(0, len(images), ROWS * COLUMNS):
        sheet = np.full((ROWS * (SIDE + 2), COLUMNS * (SHOWN * SIDE + 8)), 128, np.uint8)
        for number, strip in enumerate(images[start : start + ROWS * COLUMNS, :SHOWN]):
            top, left = number // COLUMNS * (SIDE + 2), number % COLUMNS * (SHOWN * SIDE + 8)
            sheet[top : top + SIDE, left : left + SHOWN * SIDE] = np.concatenate(list(strip), axis=1)
        sheets.append(Image.fromarray(sheet))
    return sheets


def main() -> None:
    """Write files and sheets, and print the hashes."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    fonts = checked_fonts()
    for split, names in FILES.items():
        images = render_split(split, fonts)
        labels = np.repeat(np.arange(len(images)), PER_CLASS)
        for name, array in zip(names, (images.reshape(-1, SIDE, SIDE), labels), strict=True):
            content = format_idx(array)
            (out / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
            print(name, hashlib.sha256(content).hexdigest())
        for number, sheet in enumerate(draw_sheets(images)):
            sheet.save(out / f"{split}-{number}.png")


if __name__ == "__main__":
    main()
