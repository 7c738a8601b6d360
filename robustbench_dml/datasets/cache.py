"""Decoded images on disk: a memory-mapped file for each split, with an index of the sources of its rows.

A row counts when the index names it. The index is written after the pixels have reached the disk, so an interrupted
preparation resumes and torn rows are never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robustbench_dml.datasets.images import Decoded, ImageList, decode
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import free_bytes, write_atomically
from robustbench_dml.utils.locks import exclusive_or_wait, usable_cores
from robustbench_dml.utils.progress import Bar, Progress

CHUNK = 256  # images decoded together
SAVE_EVERY = 5.0  # seconds between two writes of the index
VERSION = 1  # version of the files and of the decoding

# An entry of the index: size and time of the source (to notice changes), SHA-256 of the source and of the pixels.
Row = tuple[int, int, str, str]


class MappedImages:
    """The rows of a complete cache, read on demand."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self._pixels = np.memmap(path, dtype=np.uint8, mode="r", shape=shape)
        self.shape = shape

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return rows: (B,) -> (B, C, H, W) uint8."""
        return torch.from_numpy(self._pixels[rows.cpu().numpy()])


class PixelCache:
    """The decoded images of one list at one size.

    With `keep_pixels=False` only the index is written: every image file is decoded once as a check, and hashed.
    """

    def __init__(self, folder: Path, images: ImageList, side: int, *, keep_pixels: bool = True) -> None:
        """
        Args:
            folder: the folder that holds all caches.
            images: the list to decode.
            side: S of the stored squares.
            keep_pixels: store the pixels beside the index.
        """
        root = str(images.root.resolve())  # a relative path names several folders
        key = hashlib.sha256(json.dumps([VERSION, side, keep_pixels, root, *images.paths]).encode())
        self.images, self._side, self._keep = images, side, keep_pixels
        self.folder = folder / key.hexdigest()[:16]
        self._index, self._file = self.folder / "index.json", self.folder / "pixels.u8"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, S, S)."""
        return len(self.images), 3, self._side, self._side

    @property
    def size(self) -> int:
        """Bytes of the pixels on disk."""
        return int(np.prod(self.shape)) if self._keep else 0

    @property
    def needed(self) -> int:
        """Bytes still to be allocated on disk."""
        return 0 if not self._keep or self._has_pixels() else self.size

    def complete(self) -> bool:
        """Return true if every row is there and its source has the same size and time."""
        return None not in self._rows()

    def begun(self) -> bool:
        """Return true if any row is there."""
        return any(row is not None for row in self._known())

    def prepare(self, name: str, *, progress: Progress) -> None:
        """Decode the missing rows. A second process waits for the first.

        Raises:
            RbdmlError: a file is missing or not an image, or the disk is full. Finished rows are kept.
        """
        if self.complete():
            return
        self.images.check_present(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with exclusive_or_wait(self.folder / ".lock", name, progress):
                rows = self._rows()
                pending = [row for row, known in enumerate(rows) if known is None]
                if pending:
                    self._make_room(name, progress)
                    with progress.bar(len(rows), f"decode {name}", "images") as bar:
                        bar.advance_to(len(rows) - len(pending))
                        self._fill(rows, pending, bar)
        except OSError as error:
            without = ", or go without with --no-cache" if self._keep else ""
            raise RbdmlError(
                f"cannot write decoded images to {self.folder} ({error.strerror}): set $RBDML_CACHE to another "
                f"folder{without}"
            ) from None

    def open(self) -> MappedImages:
        """Return the images. Call `prepare` first."""
        return MappedImages(self._file, self.shape)

    def content_hash(self) -> str:
        """Return the SHA-256 over the sources and classes of all rows, as records store it."""
        digest = hashlib.sha256()
        for path, label, row in zip(self.images.paths, self.images.labels.tolist(), self._known(), strict=True):
            digest.update(f"{path}\0{label}\0{row[2] if row else ''}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def verify(self) -> None:
        """Read all pixels and compare their hashes.

        Raises:
            RbdmlError: a row has changed.
        """
        pixels = self.open()
        for row, known in enumerate(self._known()):
            if known is None or _hash(pixels[torch.tensor([row])].numpy()) != known[3]:
                raise RbdmlError(
                    f"{self._file}: row {row} ({self.images.paths[row]}) has changed on disk: remove {self.folder} "
                    "and prepare the set again"
                )

    def _make_room(self, name: str, progress: Progress) -> None:
        if not self.needed:
            return
        check_room(self.folder, self.size, name)
        progress.say(
            f"decoding {len(self.images):,} images of '{name}' once: {self.size / 1e9:.2f} GB in {self.folder}"
        )
        self._index.unlink(missing_ok=True)  # its pixels are gone
        with self._file.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # a write into a sparse map on a full disk would kill the process
                os.posix_fallocate(file.fileno(), 0, self.size)
            else:
                file.truncate(self.size)

    def _fill(self, rows: list[Row | None], pending: Sequence[int], bar: Bar) -> None:
        pixels = np.memmap(self._file, dtype=np.uint8, mode="r+", shape=self.shape) if self._keep else None
        saved = time.monotonic()
        try:
            with ThreadPoolExecutor(usable_cores()) as pool:
                for start in range(0, len(pending), CHUNK):
                    chunk = pending[start : start + CHUNK]
                    for row, (known, image) in zip(chunk, pool.map(self._decode, chunk), strict=True):
                        if pixels is not None:
                            pixels[row] = image.pixels
                        rows[row] = known
                    bar.advance_by(len(chunk))
                    if time.monotonic() - saved > SAVE_EVERY:
                        self._save(rows, pixels)
                        saved = time.monotonic()
        finally:  # keep finished rows after any failure
            self._save(rows, pixels)

    def _decode(self, row: int) -> tuple[Row, Decoded]:
        path = self.images.root / self.images.paths[row]
        try:
            stat = path.stat()  # before reading: a file that changes meanwhile is read again next time
        except OSError as error:
            raise RbdmlError(f"{path}: cannot be read ({error.strerror}): get a fresh copy of it") from None
        image = decode(path, self._side)
        return (stat.st_size, stat.st_mtime_ns, image.source, _hash(image.pixels)), image

    def _save(self, rows: Sequence[Row | None], pixels: np.memmap | None) -> None:
        if pixels is not None:
            pixels.flush()
        text = json.dumps({"version": VERSION, "rows": rows})
        write_atomically(self._index, text.encode())

    def _known(self) -> list[Row | None]:
        """Entries of the index; None for rows without pixels."""
        nothing: list[Row | None] = [None] * len(self.images)
        if not self._index.is_file() or (self._keep and not self._has_pixels()):
            return nothing
        try:
            rows = [None if row is None else tuple(row) for row in json.loads(self._index.read_bytes())["rows"]]
        except (ValueError, KeyError, TypeError):  # a damaged index: begin anew
            return nothing
        return rows if len(rows) == len(nothing) else nothing

    def _has_pixels(self) -> bool:
        return self._file.is_file() and self._file.stat().st_size == self.size

    def _rows(self) -> list[Row | None]:
        """Entries of the index; None also for rows whose source has changed."""
        return [
            known if known is not None and self._unchanged(path, known) else None
            for path, known in zip(self.images.paths, self._known(), strict=True)
        ]

    def _unchanged(self, path: str, known: Row) -> bool:
        try:
            stat = (self.images.root / path).stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == known[:2]


def check_room(folder: Path, needed: int, name: str) -> None:
    """Check the free space for decoded images.

    Raises:
        RbdmlError: there is too little; the message has both sizes.
    """
    free = free_bytes(folder)
    if free < needed:
        raise RbdmlError(
            f"'{name}' decoded takes {needed / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB left: free some, set "
            "$RBDML_CACHE to a folder elsewhere, or go without with --no-cache"
        )


def _hash(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()
