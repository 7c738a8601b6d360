"""Draw contact sheets of the data set, to look for look-alikes and damaged glyphs.

python -m robustbench_dml.datasets.glyphs.sheets FOLDER
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from robustbench_dml.datasets.glyphs.render import FILES, SIDE
from robustbench_dml.datasets.glyphs.tables import FOLDER, PER_CLASS, SPLITS
from robustbench_dml.datasets.idx import parse_idx

COLUMNS = 4  # classes in a row
SHOWN = 12  # images of each class
ROWS = 24


def draw_sheets(images: np.ndarray) -> list[Image.Image]:
    """Sheets of (classes, images, SIDE, SIDE) pixels; a grey gap separates the classes."""
    sheets = []
    for start in range(0, len(images), ROWS * COLUMNS):
        part = images[start : start + ROWS * COLUMNS, :SHOWN]
        sheet = np.full((ROWS * (SIDE + 2), COLUMNS * (SHOWN * SIDE + 8)), 128, np.uint8)
        for number, strip in enumerate(part):
            top, left = number // COLUMNS * (SIDE + 2), number % COLUMNS * (SHOWN * SIDE + 8)
            sheet[top : top + SIDE, left : left + SHOWN * SIDE] = np.concatenate(list(strip), axis=1)
        sheets.append(Image.fromarray(sheet))
    return sheets


def main() -> None:
    """Write the sheets of both splits as PNG files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        content = gzip.decompress((arguments.data / f"{FILES[split][0]}.gz").read_bytes())
        images = parse_idx(content).numpy().reshape(-1, PER_CLASS, SIDE, SIDE)
        for number, sheet in enumerate(draw_sheets(images)):
            sheet.save(arguments.out / f"{split}-{number}.png")


if __name__ == "__main__":
    main()
