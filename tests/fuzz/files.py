"""Targets that read the files of data sets, archives and weights."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from archive_support import CONTENT, QUIET, pack_tar, pack_tgz, pack_zip
from fuzz.edits import edited
from fuzz.target import Target
from image_trees import Row, write_annotations
from PIL import Image
from safetensors.torch import save

from robustbench_dml.datasets import archives, cars, cub, idx, sop
from robustbench_dml.datasets.base import DataPaths
from robustbench_dml.datasets.images import decode
from robustbench_dml.models.checkpoints import load_checkpoint
from robustbench_dml.models.embedder import build_embedder
from robustbench_dml.spec.make import make_spec
from robustbench_dml.spec.registry import BACKBONES
from robustbench_dml.spec.schema import ComputeUsed, TrainingEnd
from robustbench_dml.utils.tensors import read_state_dict, read_tensors, write_tensors

CPU = torch.device("cpu")
SIDE = 16


def _idx(data: bytes, folder: Path) -> None:
    idx.parse_idx(data)


def _gz(data: bytes, folder: Path) -> None:
    for name in idx.FILES:
        (folder / f"{name}.gz").write_bytes(data)
    idx.load_idx("fashion", folder, dict.fromkeys(idx.FILES, "0" * 64), remedy="by hand")


def _two(read: Callable[[DataPaths], object], first: str, second: str) -> Callable[[bytes, Path], None]:
    """Two lists, parted by a zero byte."""

    def feed(data: bytes, folder: Path) -> None:
        one, _, other = data.partition(b"\0")
        (folder / first).write_bytes(one)
        (folder / second).write_bytes(other)
        read(DataPaths(folder))

    return feed


def _mat(data: bytes, folder: Path) -> None:
    (folder / cars.ANNOTATIONS).write_bytes(data)
    cars.read(DataPaths(folder))


def _archive(data: bytes, folder: Path) -> None:
    (folder / "set.bin").write_bytes(data)
    before = {path.name for path in folder.iterdir()} | {"out"}
    archives.extract(folder / "set.bin", folder / "out", progress=QUIET)
    assert {path.name for path in folder.iterdir()} <= before, "wrote beside its target"
    assert not any(path.is_symlink() for path in (folder / "out").rglob("*"))


def _image(data: bytes, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(data)
    assert decode(folder / "a.jpg", SIDE).pixels.shape == (3, SIDE, SIDE)


def _safetensors(data: bytes, folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(data)
    read_tensors(folder / "a.safetensors")


@cache
def _trained() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a small network, and the run they came from."""
    end = TrainingEnd(last_loss=0.1, collapsed_at=None, collapse_cause=None, stopped=False, device="cpu")
    parts = {
        "spec": make_spec(defense="regular", dataset="glyphs-mini"),
        "spent": ComputeUsed(iterations=1),
        "end": end,
    }
    model = build_embedder(BACKBONES.get("c2f2"), seed=0, device=CPU)
    return model.state_dict(), {name: part.model_dump(mode="json") for name, part in parts.items()}


def _checkpoint(data: bytes, folder: Path) -> None:
    """Weights with edits in the metadata of their run."""
    tensors, parts = _trained()
    metadata = {name: json.dumps(part) for name, part in edited(parts, data).items()}
    write_tensors(folder / "checkpoint.safetensors", tensors, metadata)
    assert load_checkpoint(folder / "checkpoint.safetensors", device=CPU).model is not None


def _state(data: bytes, folder: Path) -> None:
    (folder / "weights.pt").write_bytes(data)
    read_state_dict(folder / "weights.pt", nested=True)


def _mats() -> Iterator[bytes]:
    rows: list[Row] = [{"relative_im_path": f"car_ims/{i}.jpg", "class": 97 + i} for i in range(4)]
    path = Path("annotations.mat")
    write_annotations(path, rows)
    yield path.read_bytes()


def _pictures() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 255, (9, 7), dtype=np.uint8))
    for kind, mode in (
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
        ("TIFF", "F"),
        ("WEBP", "RGBA"),
        ("PPM", "RGB"),
    ):
        buffer = io.BytesIO()
        grey.convert(mode).save(buffer, kind)
        yield buffer.getvalue()


def _states() -> Iterator[bytes]:
    for protocol in (False, True):
        buffer = io.BytesIO()
        torch.save({"model": {"a": torch.ones(2, 3)}}, buffer, _use_new_zipfile_serialization=protocol)
        yield buffer.getvalue()


def _zips() -> Iterator[bytes]:
    yield pack_tar(CONTENT)
    yield pack_tgz(CONTENT)
    yield pack_zip(CONTENT)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as stored:
        stored.writestr("a/b.txt", b"1")
    yield buffer.getvalue()


CUB = b"1 a/b.jpg\n2 c/d.jpg\n\x001 1\n2 101\n"
SOP = b"image_id class_id super_class_id path\n1 1 1 a/b.JPG\n\x00i c s p\n2 7 1 c/d.JPG\n"
IMAGES = idx.format_idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


def targets() -> list[Target]:
    """All of them; the seeds are made in the current folder."""
    return [
        Target("idx", _idx, [IMAGES]),
        Target("idx-gz", _gz, [gzip.compress(IMAGES)]),
        Target("cub", _two(cub.read, cub.LIST, cub.LABELS), [CUB]),
        Target("sop", _two(sop.read, sop.TRAIN_LIST, sop.TEST_LIST), [SOP]),
        Target("cars", _mat, list(_mats())),
        Target("archive", _archive, list(_zips())),
        Target("image", _image, list(_pictures())),
        Target("safetensors", _safetensors, [save({"a": torch.ones(2, 3)}, {"spec": "{}"})]),
        Target("checkpoint", _checkpoint, [b"", b"\0\1\3\7"]),
        Target("state", _state, list(_states())),
    ]
