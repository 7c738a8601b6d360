from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cache_support import (
    NAMES,
    QUIET,
    ROW_BYTES,
    SIDE,
    Decoding,
    all_rows,
    cache_of,
    index_file,
    pixel_file,
    prepared,
)
from image_trees import naive_rows

from robustbench_dml.datasets import cache as module
from robustbench_dml.datasets.cache import PixelCache
from robustbench_dml.datasets.images import Decoded, ImageList, decode
from robustbench_dml.utils.errors import RbdmlError


def test_the_pixels_are_those_of_the_files(images: ImageList) -> None:
    cache = prepared(images)
    assert cache.shape == (len(NAMES), 3, SIDE, SIDE)
    assert pixel_file(cache).stat().st_size == cache.size == len(NAMES) * ROW_BYTES
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))


@pytest.mark.parametrize("rows", [[0], [6, 0, 3], [2, 2, 2], [5, 4, 3, 2, 1, 0, 6]])
def test_rows_are_read_in_the_order_asked_for(images: ImageList, rows: list[int]) -> None:
    opened = prepared(images).open()
    found = opened[torch.tensor(rows)]
    assert opened.shape == (len(NAMES), 3, SIDE, SIDE)
    assert found.dtype == torch.uint8
    assert torch.equal(found, naive_rows(images, SIDE)[rows])
    found.zero_()  # a copy: what is stored stays
    assert torch.equal(opened[torch.tensor(rows)], naive_rows(images, SIDE)[rows])


def test_nothing_is_decoded_twice(images: ImageList, decoding: Decoding) -> None:
    assert not cache_of(images).complete()
    prepared(images)
    assert sorted(decoding.names) == sorted(NAMES)
    decoding.names.clear()
    assert cache_of(images).complete()
    prepared(images)
    assert decoding.names == []


def test_sizes_and_lists_have_caches_of_their_own(images: ImageList, decoding: Decoding) -> None:
    first = prepared(images)
    larger = cache_of(images, side=SIDE + 1)
    fewer = cache_of(replace(images, paths=NAMES[:2], labels=images.labels[:2]))
    for other in (larger, fewer):
        assert not other.begun()
        other.prepare("birds", progress=QUIET)
    assert len(decoding.names) == 2 * len(NAMES) + 2
    assert torch.equal(all_rows(first), naive_rows(images, SIDE))
    assert torch.equal(all_rows(larger), naive_rows(images, SIDE + 1))
    assert torch.equal(all_rows(fewer), naive_rows(images, SIDE)[:2])


def test_a_relative_folder_is_known_by_where_it_is(
    images: ImageList, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data-root data` in two folders means two sets, and the absolute path means the same set."""
    prepared(images)
    monkeypatch.chdir(images.root.parent)
    same = PixelCache(images.root.parent / "cache", replace(images, root=Path("set")), SIDE)
    assert same.complete()
    (images.root.parent / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    shutil.copytree(images.root, "set")
    assert not PixelCache(images.root.parent / "cache", replace(images, root=Path("set")), SIDE).begun()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RbdmlError("broken"), MemoryError()])
def test_an_interrupted_preparation_goes_on_where_it_was(
    images: ImageList, decoding: Decoding, error: BaseException
) -> None:
    decoding.fails_at, decoding.error = NAMES[4], error
    with pytest.raises(type(error)):
        prepared(images)
    cache = cache_of(images)
    assert cache.begun() and not cache.complete()
    decoding.fails_at = ""
    decoding.names.clear()
    prepared(images)
    assert sorted(decoding.names) == sorted(NAMES[4:])
    assert cache.complete()
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))


def test_rows_before_a_failure_in_the_same_chunk_are_kept(images: ImageList, decoding: Decoding) -> None:
    decoding.fails_at = NAMES[5]  # the second of its chunk
    with pytest.raises(KeyboardInterrupt):
        prepared(images)
    decoding.fails_at = ""
    decoding.names.clear()
    prepared(images)
    assert sorted(decoding.names) == sorted(NAMES[5:])


def test_the_index_is_written_on_the_way(
    images: ImageList, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed cannot write it at the end."""
    known: list[int] = []

    def watch(path: Path, side: int) -> Decoded:
        index = index_file(cache_of(images))
        rows = json.loads(index.read_text())["rows"] if index.exists() else []
        known.append(sum(row is not None for row in rows))
        return decode(path, side)

    monkeypatch.setattr(module, "decode", watch)
    monkeypatch.setattr(module, "SAVE_EVERY", -1.0)
    prepared(images)
    assert sorted(known) == [0, 0, 2, 2, 4, 4, 6]


def test_a_corrupt_image_is_named_and_finished_rows_stay(images: ImageList, decoding: Decoding) -> None:
    whole = (images.root / NAMES[3]).read_bytes()
    (images.root / NAMES[3]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RbdmlError, match=r"/set/a/1\.jpg: cannot be read as an image"):
        prepared(images)
    (images.root / NAMES[3]).write_bytes(whole)
    decoding.names.clear()
    cache = prepared(images)
    assert sorted(decoding.names) == sorted(NAMES[3:])
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))
