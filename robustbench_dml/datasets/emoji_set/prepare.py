"""Making the data set `emoji` from its packages: drawings to PNG files, their licences, and the lists of the halves."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from robustbench_dml.datasets import emoji_set
from robustbench_dml.datasets.emoji_set.drawings import MIN_DRAWINGS, Drawing, distinct, join, split
from robustbench_dml.datasets.emoji_set.packages import PACKAGES, IconSet, Package, fetch, read
from robustbench_dml.errors import RbdmlError
from robustbench_dml.files import write_atomically
from robustbench_dml.progress import Progress

INDEX, IMAGES, LICENSES = "index.json", "images", "LICENSES.md"
SIZES = range(16, 513)
REFERENCE_SIZE = 64  # which drawings are used is found out at one size, so that all sizes have the same ones
RESVG = "resvg-py==0.5.0"  # with which the counts of the pinned packages were found
WHITE = (255, 255, 255)

Classes = Mapping[str, Mapping[str, Drawing]]


def canvas(size: int) -> int:
    """Side of the image around a drawing of this size: crops of the size shift the drawing, the middle one has it."""
    return size + 2 * (size // 14)


def prepare(
    target: Path,
    *,
    size: int,
    source: Path | None,
    progress: Progress,
    packages: Sequence[Package] = PACKAGES,
) -> None:
    """Make the data set in a folder; one that was begun there before is made anew.

    Args:
        target: gets `images/<class>/<set>.png`, `LICENSES.md` and, when all else is written, `index.json`.
        size: side of a drawing in pixels; the white canvas around it is larger, see `canvas`.
        source: folder with the .tgz files of the packages; without it npm downloads them.
        progress: shows how far it is.
        packages: the sets to join.

    Raises:
        RbdmlError: a package cannot be had or is not the pinned one, the size is out of range, the drawings come out
            otherwise than they should, or the folder cannot be written to.
    """
    if size not in SIZES:
        raise RbdmlError(f"emoji cannot be drawn at size {size}: name a size from {SIZES[0]} to {SIZES[-1]}")
    classes = join(_icon_sets(packages, source, progress))
    chosen = choose(classes, progress)
    train, test = split(chosen)
    if tuple(packages) == PACKAGES:
        _check_counts(chosen, train, test)
    try:
        (target / INDEX).unlink(missing_ok=True)
        _write_images(target / IMAGES, chosen, size, progress)
        (target / LICENSES).write_text(licenses(packages), encoding="utf-8")
        index = {
            "version": 1,
            "size": size,
            "canvas": canvas(size),
            "packages": {p.name: {"version": p.version, "sha256": p.sha256} for p in _by_name(packages)},
            "train": _listing(chosen, train),
            "test": _listing(chosen, test),
        }
        write_atomically(target / INDEX, lambda file: file.write(json.dumps(index).encode() + b"\n"))
    except OSError as error:
        raise RbdmlError(
            f"cannot write to {target} ({error.strerror or error}): free some space or name another folder by "
            "--data-root"
        ) from None


def _icon_sets(packages: Sequence[Package], source: Path | None, progress: Progress) -> list[IconSet]:
    if source is not None:
        return [read(package, source) for package in packages]
    with (
        tempfile.TemporaryDirectory(prefix="rbdml-emoji-") as folder,
        progress.bar(len(packages), "emoji packages", "package") as bar,
    ):
        sets = []
        for package in packages:
            fetch(package, Path(folder))
            sets.append(read(package, Path(folder)))
            bar.advance_by(1)
        return sets


def choose(classes: Classes, progress: Progress) -> dict[str, dict[str, Drawing]]:
    """The classes of the data set with their drawings, without those that come out blank or twice."""
    large = {name: drawings for name, drawings in classes.items() if len(drawings) >= MIN_DRAWINGS}
    pictures: dict[str, dict[str, bytes]] = {name: {} for name in large}
    with progress.bar(sum(map(len, large.values())), "emoji compared", "drawing") as bar:
        for name, drawings in large.items():
            for set_name, drawing in drawings.items():
                picture = _picture(drawing)
                if picture is not None:
                    pictures[name][set_name] = picture
                bar.advance_by(1)
    used = distinct(pictures)
    return {name: {set_name: classes[name][set_name] for set_name in set_names} for name, set_names in used.items()}


def _picture(drawing: Drawing) -> bytes | None:
    """A hash of the pixels; None where a drawing cannot be rendered or nothing is to be seen."""
    try:
        image = draw(drawing, REFERENCE_SIZE)
    except ValueError:
        return None
    pixels = image.tobytes()
    return None if pixels.count(255) == len(pixels) else hashlib.sha256(pixels).digest()


def draw(drawing: Drawing, size: int) -> Image.Image:
    """A drawing on white, without a margin.

    Raises:
        RbdmlError: the renderer is not installed.
        ValueError: it cannot be rendered.
    """
    try:
        import resvg_py  # deferred: only preparing needs it
    except ImportError:
        raise RbdmlError(f"emoji are drawn by resvg-py, which is not installed: `pip install {RESVG}`") from None
    # Without the fonts of the machine, which would make another picture of the same drawing elsewhere.
    png = resvg_py.svg_to_bytes(svg_string=drawing.svg(size), background="#ffffff", skip_system_fonts=True)
    return Image.open(io.BytesIO(png)).convert("RGB")


def _write_images(folder: Path, chosen: Classes, size: int, progress: Progress) -> None:
    margin = (canvas(size) - size) // 2
    # In this one thread: resvg-py holds the interpreter's lock while it draws.
    with progress.bar(sum(map(len, chosen.values())), "emoji drawn", "drawing") as bar:
        for name, drawings in chosen.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            for set_name, drawing in drawings.items():
                image = Image.new("RGB", (canvas(size), canvas(size)), WHITE)
                image.paste(draw(drawing, size), (margin, margin))
                image.save(folder / name / f"{set_name}.png", compress_level=1)
                bar.advance_by(1)


def _listing(chosen: Classes, names: Sequence[str]) -> list[list[str]]:
    return sorted([f"{IMAGES}/{name}/{set_name}.png", name] for name in names for set_name in chosen[name])


def _check_counts(chosen: Classes, train: Sequence[str], test: Sequence[str]) -> None:
    found = tuple(count for half in (train, test) for count in (len(half), sum(len(chosen[name]) for name in half)))
    expected = (emoji_set.TRAIN_CLASSES, emoji_set.TRAIN_IMAGES, emoji_set.TEST_CLASSES, emoji_set.TEST_IMAGES)
    if found != expected:
        raise RbdmlError(
            f"the drawings of 'emoji' give {_counts(*found)} where there should be {_counts(*expected)}: draw them by "
            f"the version that the counts were found with, `pip install {RESVG}`"
        )


def _counts(train_classes: int, train_images: int, test_classes: int, test_images: int) -> str:
    return f"{train_classes} / {test_classes} classes of {train_images:,} / {test_images:,} images"


def _by_name(packages: Sequence[Package]) -> list[Package]:
    return sorted(packages, key=lambda package: package.name)


def licenses(packages: Sequence[Package]) -> str:
    """Whose the drawings are, for the folder that holds them."""
    rows = [
        f"| `{p.set_name}.png` | [{p.title}]({p.origin}) | {p.author} | [{p.licence}]({p.licence_url}) | `{p.spec}` |"
        for p in _by_name(packages)
    ]
    return "\n".join(
        [
            "# Whose these drawings are",
            "",
            "The images in this folder were rendered from the drawings of the projects below: at one size, on white,",
            "and otherwise unchanged. They are no part of robustbench-dml and stay under their own licences, which",
            "hold for whoever passes them on.",
            "",
            "| images | project | author | licence (SPDX) | npm package and version |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )
