"""Thousands of Han and Hangul characters, rendered on this machine: for a GPU and for large galleries.

`rbdml data prepare glyphs-xl` draws them with the jitter of `glyphs` from installed fonts. An image depends on its
character, its font and the font's version. Records hold the hashes of the result, which tell versions apart.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from robustbench_dml.datasets.base import DataPaths, Dataset, DatasetStatus, DownloadRequest, Split
from robustbench_dml.datasets.lists import find_folder, missing_dataset
from robustbench_dml.spec.registry import DatasetInfo, register_dataset
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import read_at_most, sha256, write_atomically

NAME = "glyphs-xl"
INDEX = "index.json"
MOST_INDEX = 10_000_000  # bytes; the index has about 30,000
SIDE, PER_CLASS = 64, 16
HAN, HANGUL = 2_000, 500  # classes of each split
CLASSES = HAN + HANGUL
CHECKED_AT = 24  # pixels, to find placeholders
SPLITS = ("train", "test")
SHAPE = (CLASSES * PER_CLASS, SIDE, SIDE)
FONTS = Path(__file__).parent / "glyphs" / "xl_fonts.csv"
REMEDY = f"remove its folder and use `rbdml data prepare {NAME}`"


def candidates() -> dict[str, int]:
    """Characters to choose from, with the number of classes that each split takes of their script.

    Han characters are those of Shift JIS, Hangul syllables those of KS X 1001.
    """
    han = [chr(code) for code in range(0x4E00, 0x9FA6)]
    hangul = [chr(code) for code in range(0xAC00, 0xD7A4)]
    return {
        **{character: HAN for character in han if len(character.encode("shift_jis", "ignore")) == 2},
        **{character: HANGUL for character in hangul if len(character.encode("euc_kr", "ignore")) == 2},
    }


def choose_classes(support: dict[str, Counter[str]], wanted: dict[str, int]) -> dict[str, list[str]]:
    """Characters of each split, in the order of their SHA-256.

    Args:
        support: number of fonts that draw each character, by split.
        wanted: number of classes that a split takes from the script of each candidate character.

    Raises:
        RbdmlError: the fonts draw too few characters.
    """
    order = sorted(wanted, key=lambda character: hashlib.sha256(character.encode()).digest())
    common = [c for c in order if min(support[name][c] for name in SPLITS) >= PER_CLASS]
    classes: dict[str, list[str]] = {name: [] for name in SPLITS}
    for count in sorted(set(wanted.values())):
        script = [character for character in common if wanted[character] == count]
        if len(script) < 2 * count:
            raise RbdmlError(
                f"{len(script)} of {2 * count} characters have {PER_CLASS} fonts of each split: install the fonts of "
                "Debian 12"
            )
        classes["train"] += script[:count]
        classes["test"] += script[count : 2 * count]
    return classes


def drawn_characters(file: str, characters: Iterable[str]) -> set[str]:
    """Characters that a font draws. Some fonts map missing characters to a placeholder: equal glyphs do not count."""
    from robustbench_dml.datasets.glyphs.drawing import Face

    face = Face(file)
    digests = {character: face.digest(character, CHECKED_AT) for character in characters}
    counts = Counter(digests.values())
    return {character for character, digest in digests.items() if digest is not None and counts[digest] == 1}


def render(paths: DataPaths, folder: Path) -> None:
    """Draw both splits into a folder; the index comes last.

    Raises:
        RbdmlError: fonts are missing.
        OSError: the folder cannot be written.
    """
    from robustbench_dml.datasets.glyphs.drawing import Face, read_fonts, render_class

    fonts = read_fonts(FONTS)
    wanted = candidates()
    usable = []
    with paths.progress.bar(len(fonts), "read fonts", "fonts") as bar:
        for font in fonts:
            drawn = drawn_characters(font.file, font.characters & wanted.keys())
            usable.append(replace(font, only=frozenset(drawn)))
            bar.advance_by(1)
    support = {name: Counter(c for font in usable if font.split == name for c in font.characters) for name in SPLITS}
    classes = choose_classes(support, wanted)
    hashes = {}
    with paths.progress.bar(2 * CLASSES, f"draw {NAME}", "classes") as bar:
        for name in SPLITS:
            own = [font for font in usable if font.split == name]
            faces: dict[str, Face] = {}
            images = np.empty(SHAPE, np.uint8)
            for number, character in enumerate(classes[name]):
                part = slice(number * PER_CLASS, (number + 1) * PER_CLASS)
                images[part] = render_class(character, own, faces, count=PER_CLASS, side=SIDE)
                bar.advance_by(1)
            write_atomically(folder / f"{name}.npy", partial(save, images))
            hashes[name] = sha256(folder / f"{name}.npy")
    index = {
        "hashes": hashes,
        "classes": {name: "".join(classes[name]) for name in SPLITS},
        "fonts": {font.font: sha256(Path(font.file)) for font in fonts},
    }
    content = json.dumps(index, ensure_ascii=False, indent=1).encode()
    write_atomically(folder / INDEX, lambda file: file.write(content))


def save(images: np.ndarray, file: BinaryIO) -> None:
    """Write an array as a .npy file."""
    np.save(file, images)


def locate(paths: DataPaths) -> Path | None:
    """Find the folder that holds the index."""
    return find_folder(paths, (NAME,), (INDEX,))


def read_index(folder: Path) -> dict[str, str]:
    """The hashes of both splits.

    Raises:
        RbdmlError: the index is damaged.
    """
    path = folder / INDEX
    try:
        hashes = json.loads(read_at_most(path, MOST_INDEX))["hashes"]
        return {name: str(hashes[name]) for name in SPLITS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RbdmlError(f"{path}: not the index of '{NAME}': {REMEDY}") from None


def load(paths: DataPaths) -> Dataset:
    """Load the rendered images, grey as three equal channels. Training classes come first, then test classes.

    Pixels stay on disk until they are read.

    Raises:
        RbdmlError: the set is missing or damaged.
    """
    folder = locate(paths)
    if folder is None:
        raise missing_dataset(NAME, paths, INDEX)
    hashes = read_index(folder)
    train, test = (
        Split(_read(folder / f"{name}.npy", hashes[name]), torch.arange(CLASSES).repeat_interleave(PER_CLASS) + first)
        for name, first in zip(SPLITS, (0, CLASSES), strict=True)
    )
    return Dataset(NAME, train, test, hashes)


def _read(path: Path, digest: str) -> torch.Tensor:
    try:
        if sha256(path) != digest:
            raise RbdmlError(f"{path}: its content has another SHA-256 than its index holds: {REMEDY}")
        images = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise RbdmlError(f"{path}: cannot be read: {REMEDY}") from None
    if images.shape != SHAPE or images.dtype != np.uint8:
        raise RbdmlError(f"{path}: {images.dtype} {images.shape} instead of uint8 {SHAPE}: {REMEDY}")
    return torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1)


def status(paths: DataPaths, *, verify: bool = False) -> DatasetStatus:
    """Report the rendered files, which are always checked.

    Raises:
        RbdmlError: the errors of `load`.
    """
    del verify
    hashes = load(paths).hashes
    size = (CLASSES * PER_CLASS, CLASSES)
    return DatasetStatus(locate(paths) or Path(), size, size, "kept", hashes)


def prepare(paths: DataPaths, request: DownloadRequest) -> Path:
    """Render the set below the first data folder.

    Raises:
        RbdmlError: fonts are missing, or a source was given.
        OSError: the folder cannot be written.
    """
    if request != DownloadRequest():
        raise RbdmlError(f"'{NAME}' is rendered on this machine: leave --from and --url out")
    folder = paths.folders[0] / NAME
    if not (folder / INDEX).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        render(paths, folder)
    return folder


register_dataset(
    DatasetInfo(
        name=NAME,
        summary="rendered Han and Hangul characters: 2,500 / 2,500 classes, 40,000 / 40,000 grey 64x64 images",
        paper="this project; rendered from Debian's fonts, see datasets/glyphs/README.md",
        family="glyphs64",
        backbone="resnet18",
        train_images=CLASSES * PER_CLASS,
        test_images=CLASSES * PER_CLASS,
        train_classes=CLASSES,
        test_classes=CLASSES,
        queries=2_000,
        load=load,
        status=status,
        prepare=prepare,
    )
)
