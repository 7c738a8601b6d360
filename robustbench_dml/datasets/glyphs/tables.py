"""Tables of the data set: fonts, characters, and the look-alikes that were dropped."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import sha256

FOLDER = Path(__file__).parent
FONTS = FOLDER / "fonts.csv"
CHARACTERS = FOLDER / "characters.csv"
DROPPED = FOLDER / "dropped.csv"
SPLITS = ("train", "test")
PER_CLASS = 60  # images of each class, each in another font


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


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows with the columns of the first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_fonts(path: Path = FONTS) -> list[Font]:
    """The fonts in the order of the table."""
    return [
        Font(row["font"], row["split"], row["package"], row["file"], row.get("sha256", "")) for row in read_table(path)
    ]


def check_installed(fonts: Iterable[Font]) -> None:
    """Check that the fonts are installed.

    Raises:
        RbdmlError: some are missing; the message names their packages.
    """
    missing = sorted({font.package for font in fonts if not Path(font.file).is_file()})
    if missing:
        raise RbdmlError(f"fonts are missing: `apt-get install {' '.join(missing)}` on Debian 12")


def check_fonts(fonts: Iterable[Font]) -> None:
    """Check that the fonts are installed in the versions used to draw the images.

    Raises:
        RbdmlError: fonts are missing, or another version is installed.
    """
    fonts = list(fonts)
    check_installed(fonts)
    other = next((font for font in fonts if sha256(Path(font.file)) != font.sha256), None)
    if other is not None:
        raise RbdmlError(
            f"{other.file}: another version than the images were drawn with: install {other.package} of Debian 12"
        )


def supporting(fonts: Sequence[Font], characters: Iterable[str]) -> dict[str, dict[str, int]]:
    """For each character, the number of fonts of each split that have the character."""
    return {
        character: {name: sum(f.split == name and character in f.characters for f in fonts) for name in SPLITS}
        for character in characters
    }
