"""Choose the classes: characters in enough fonts, without look-alikes.

    python benchmarks/glyphs/choose.py

It reads `fonts.csv` and `by_eye.csv`, and writes `characters.csv` of the data set and `dropped.csv`. Characters are
drawn upright, scaled by their bounding boxes and slightly blurred, in some fonts of each split. Two measures find
look-alikes:

- Correlation of both characters in the same font, averaged over fonts: finds twins such as Latin and Greek A.
- Confusion: how often a nearest shape from another font is the other character. It finds pairs that differ less than
  two fonts do, such as o in two cases.
"""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from robustbench_dml.datasets.glyphs import EMBEDDED, PER_CLASS
from robustbench_dml.datasets.glyphs.drawing import Face, Font, read_fonts, read_table

FOLDER = Path(__file__).parent

BLOCKS = ((0x21, 0x24F), (0x370, 0x52F), (0x1E00, 0x1EFF), (0x2010, 0x209F), (0x20A0, 0x20BF), (0x2100, 0x26FF))
CORRELATION = 0.93
CONFUSION = 0.4  # both directions together
NEIGHBOURS = 5
PROBES = 12  # fonts of each split
LEAST_FONTS = 100  # fonts of both splits together
SIDE, BLUR = 32, 1.0
SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")
SPLITS = ("train", "test")


def candidates() -> list[str]:
    """Letters, numbers, punctuation and symbols; plain letters first, so that they stay and their twins go."""
    characters = [chr(code) for first, last in BLOCKS for code in range(first, last + 1)]
    visible = [character for character in characters if unicodedata.category(character)[0] in "LNPS"]
    return sorted(visible, key=_precedence)


def _precedence(character: str) -> tuple[int, int]:
    plain = not unicodedata.decomposition(character)
    letter = unicodedata.category(character)[0] in "LN"
    if character.isascii():
        return (0 if letter else 3, ord(character))
    return (1 if letter and plain else 2 if letter else 4, ord(character))


def script_of(character: str) -> str:
    """`latin`, `greek`, `cyrillic`, `digit` or `sign`."""
    if unicodedata.category(character)[0] != "L":
        return "digit" if unicodedata.category(character) == "Nd" else "sign"
    name = unicodedata.name(character)
    return next((script.lower() for script in SCRIPTS if name.startswith(script)), "sign")


def shapes(font: Font, characters: Sequence[str]) -> np.ndarray:
    """(N, SIDE * SIDE) shapes in one font, of mean 0 and length 1; zeros where the font lacks the character."""
    face = Face(font.file)
    rows = np.zeros((len(characters), SIDE * SIDE), np.float32)
    for number, character in enumerate(characters):
        glyph = face.glyph(character, SIDE - 4) if character in font.characters else None
        if glyph is not None:
            canvas = Image.new("L", (SIDE, SIDE))
            canvas.paste(glyph, ((SIDE - glyph.width) // 2, (SIDE - glyph.height) // 2))
            values = np.asarray(canvas.filter(ImageFilter.GaussianBlur(BLUR)), np.float32).flatten()
            values -= values.mean()
            rows[number] = values / np.linalg.norm(values)
    return rows


def correlations(seen: np.ndarray) -> np.ndarray:
    """(fonts, N, D) shapes -> (N, N) correlations, averaged over the fonts that have both characters."""
    present = np.asarray(seen.any(-1), np.float32)
    return np.einsum("fnd,fmd->nm", seen, seen, optimize=True) / np.maximum(present.T @ present, 1)


def confusions(seen: np.ndarray) -> np.ndarray:
    """(fonts, N, D) shapes -> (N, N) shares of the nearest shapes from other fonts, both directions added."""
    fonts, count, dimension = seen.shape
    flat = seen.reshape(-1, dimension)
    present = flat.any(-1)
    shares = np.zeros((count, count))
    for font in range(fonts):
        alike = seen[font] @ flat.T
        alike[:, ~present] = -1
        alike[:, font * count : (font + 1) * count] = -1
        nearest = np.argpartition(-alike, NEIGHBOURS, axis=1)[:, :NEIGHBOURS] % count
        for row in np.flatnonzero(seen[font].any(-1)):
            np.add.at(shares[row], nearest[row], 1)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1)
    return shares + shares.T


def drop_alike(characters: Sequence[str], alike: np.ndarray, most: float) -> tuple[list[int], dict[int, int]]:
    """Keep each character that resembles no character kept earlier.

    Returns:
        The kept rows, and for each dropped row the most similar kept row.
    """
    kept: list[int] = []
    dropped: dict[int, int] = {}
    for row in range(len(characters)):
        nearest = max(kept, key=lambda other: alike[row, other], default=row)
        if nearest != row and alike[row, nearest] > most:
            dropped[row] = nearest
        else:
            kept.append(row)
    return kept, dropped


def split_classes(support: dict[str, dict[str, int]]) -> dict[str, str]:
    """Halves of equal size: in the order of the characters' SHA-256, where the fonts of both splits have a character.

    A character with too few fonts in one split goes to the other split. If the number of characters is odd, the last
    character is left out.
    """
    order = sorted(support, key=lambda character: hashlib.sha256(character.encode()).digest())
    order = order[: len(order) // 2 * 2]
    allowed = {c: [name for name in SPLITS if support[c][name] >= PER_CLASS] for c in order}
    halves = {c: names[0] for c, names in allowed.items() if len(names) == 1}
    for character in order:
        if character not in halves:
            full = list(halves.values()).count("train") == len(order) // 2
            halves[character] = "test" if full else "train"
    return halves


def main() -> None:
    """Write `characters.csv` and `dropped.csv`."""
    fonts = read_fonts(FOLDER / "fonts.csv")
    support = supporting(fonts, candidates())
    common = [
        character
        for character, counts in support.items()
        if max(counts.values()) >= PER_CLASS and sum(counts.values()) >= LEAST_FONTS
    ]
    by_split = [[font for font in fonts if font.split == name] for name in SPLITS]
    probes = [font for part in by_split for font in part[:: len(part) // PROBES][:PROBES]]
    seen = np.stack([shapes(font, common) for font in probes])
    kept, twins = drop_alike(common, correlations(seen), CORRELATION)
    names = [common[row] for row in kept]
    alike = correlations(seen)
    rows = [_dropped(common[row], common[twin], "correlation", alike[row, twin]) for row, twin in twins.items()]
    alike = confusions(seen[:, kept])
    kept, twins = drop_alike(names, alike, CONFUSION)
    rows += [_dropped(names[row], names[twin], "confusion", alike[row, twin]) for row, twin in twins.items()]
    by_eye = {row["character"]: row["like"] for row in read_table(FOLDER / "by_eye.csv")}
    left = [names[row] for row in kept]
    rows += [_dropped(character, like, "eye") for character, like in by_eye.items() if character in left]
    left = [character for character in left if character not in by_eye]
    halves = split_classes({character: support[character] for character in left})
    print(f"{len(common)} characters, {len(common) - len(left)} look-alikes, {len(halves)} classes")
    write_table(FOLDER / "dropped.csv", rows)
    write_table(EMBEDDED / "characters.csv", [_class(character, halves[character]) for character in sorted(halves)])


def supporting(fonts: Sequence[Font], characters: Iterable[str]) -> dict[str, dict[str, int]]:
    """For each character, the number of fonts of each split that have the character."""
    return {
        character: {name: sum(f.split == name and character in f.characters for f in fonts) for name in SPLITS}
        for character in characters
    }


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows with the columns of the first."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _dropped(character: str, like: str, by: str, value: float | None = None) -> dict[str, str]:
    return {
        "character": character,
        "name": unicodedata.name(character),
        "like": like,
        "like_name": unicodedata.name(like),
        "by": by,
        "value": "" if value is None else f"{value:.3f}",
    }


def _class(character: str, split: str) -> dict[str, str]:
    return {
        "character": character,
        "code": f"U+{ord(character):04X}",
        "name": unicodedata.name(character),
        "script": script_of(character),
        "split": split,
    }


if __name__ == "__main__":
    main()
