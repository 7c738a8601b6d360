"""Lists of image files, and their decoding."""

from __future__ import annotations

import hashlib
import io
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from robustbench_dml.utils.errors import RbdmlError, reason
from robustbench_dml.utils.files import read_at_most
from robustbench_dml.utils.locks import usable_cores

# Formats of photographs only. For others, such as PostScript, Pillow would start another program.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
MOST_PIXELS = 80_000_000  # a few kB could fill the memory otherwise
MOST_BYTES = 500_000_000
logging.getLogger("PIL").addHandler(logging.NullHandler())  # our message names the cause


@dataclass(frozen=True)
class ImageList:
    """One split of a data set on disk."""

    root: Path  # folder of all paths
    paths: tuple[str, ...]  # N images, relative to the root
    labels: Tensor  # (N,) int64 classes

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(torch.unique(self.labels))

    def check_present(self, name: str) -> None:
        """Check that every file is there.

        Raises:
            RbdmlError: files are missing; the message names the first.
        """
        missing = [path for path in self.paths if not (self.root / path).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            remedy = f"unpack its archive again, or move {self.root} away and use `rbdml data prepare {name}`"
            if name.startswith("folder:"):
                remedy = "put it back, or take its name or link out of the folder"
            raise RbdmlError(f"{self.root / missing[0]}{more}: missing image of '{name}': {remedy}")


@dataclass(frozen=True)
class Decoded:
    """One image file as pixels."""

    pixels: np.ndarray  # (3, S, S) uint8
    source: str  # SHA-256 of the file


def decode(path: Path, side: int) -> Decoded:
    """Read an image as RGB and resize it to `side` x `side`, ignoring its aspect ratio, as the papers do.

    Transparent parts become white. Reductions are antialiased (bilinear). Pixels are taken as stored: an orientation in
    the EXIF data is not applied, as in torchvision's loader of folders.

    Raises:
        RbdmlError: a file that is missing, empty, too large, damaged or not in one of `FORMATS`.
    """
    try:
        content = read_at_most(path, MOST_BYTES)
        if not content:
            raise RbdmlError(f"{path}: an empty file, not an image: get a fresh copy of it")
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels")
            image.load()
            rgb = _on_white(image)
    except RbdmlError:
        raise
    except Exception as error:  # Pillow can raise anything on a damaged file
        cause = "in no known format" if isinstance(error, UnidentifiedImageError) else reason(error, 80)
        raise RbdmlError(f"{path}: cannot be read as an image ({cause}): get a fresh copy of it") from None
    return Decoded(_resized(rgb, side), hashlib.sha256(content).hexdigest())


def pixels_of(image: Image.Image, side: int) -> np.ndarray:
    """Return an opened image as `decode` does: (3, S, S) uint8."""
    return _resized(_on_white(image), side)


def _resized(rgb: Image.Image, side: int) -> np.ndarray:
    if rgb.size != (side, side):
        rgb = rgb.resize((side, side), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Keep the high byte of 16-bit grey pixels, as PIL does for 16-bit colours. PIL would clip grey to white."""
    if not (image.mode.startswith("I;16") or image.format in ("PNG", "PPM")):  # "I" in some versions of PIL
        raise ValueError("its pixels have neither 8 nor 16 bits")
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


class ImageFiles:
    """Images decoded at each access: slow, but without files on disk."""

    def __init__(self, images: ImageList, side: int) -> None:
        self._images, self._side = images, side
        self._pool = ThreadPoolExecutor(usable_cores())  # decoding releases the interpreter's lock

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return len(self._images), 3, self._side, self._side

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return rows: (B,) -> (B, C, H, W) uint8."""
        paths = [self._images.root / self._images.paths[row] for row in rows.tolist()]
        decoded = self._pool.map(lambda path: decode(path, self._side).pixels, paths)
        return torch.from_numpy(np.stack(list(decoded)))
