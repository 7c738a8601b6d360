from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest
import torch
from cache_support import (
    NAMES,
    QUIET,
    ROW_BYTES,
    SIDE,
    Decoding,
    Hearing,
    all_rows,
    cache_of,
    change,
    index_file,
    pixel_file,
    prepared,
)
from filelock import FileLock
from image_trees import naive_rows, write_list

from robustbench_dml.datasets import cache as module
from robustbench_dml.datasets.cache import PixelCache
from robustbench_dml.datasets.images import ImageList
from robustbench_dml.utils.errors import RbdmlError


def test_a_changed_file_is_noticed_and_only_its_row_is_made_anew(images: ImageList, decoding: Decoding) -> None:
    cache = prepared(images)
    before = cache.content_hash()
    change(images.root / NAMES[2], 99)
    assert not cache.complete()
    decoding.names.clear()
    prepared(images)
    assert decoding.names == [NAMES[2]]
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))
    assert cache.content_hash() != before


def test_a_file_of_another_time_alone_is_read_again_but_keeps_its_hash(images: ImageList, decoding: Decoding) -> None:
    before = prepared(images).content_hash()
    os.utime(images.root / NAMES[0], ns=(1, 1))
    decoding.names.clear()
    assert prepared(images).content_hash() == before
    assert decoding.names == [NAMES[0]]


def test_a_removed_file_is_named(images: ImageList) -> None:
    prepared(images)
    (images.root / NAMES[1]).unlink()
    assert not cache_of(images).complete()
    with pytest.raises(RbdmlError, match=r"/set/b/1\.jpg: missing image of 'birds': .*rbdml data prepare birds"):
        prepared(images)


def test_several_removed_files_are_counted(images: ImageList) -> None:
    for name in NAMES[1:4]:
        (images.root / name).unlink()
    with pytest.raises(RbdmlError, match=r"/set/b/1\.jpg and 2 more: missing image"):
        prepared(images)
    assert not (images.root.parent / "cache").exists()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b'{"version": 1, "rows": [[1, 2',
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"rows": null}',
        b'{"rows": [1, 2, 3, 4, 5, 6, 7]}',
        b'{"rows": [null]}',
    ],
)
def test_an_index_that_is_none_of_ours_begins_anew(images: ImageList, decoding: Decoding, garbage: bytes) -> None:
    cache = prepared(images)
    index_file(cache).write_bytes(garbage)
    assert not cache.begun() and not cache.complete()
    decoding.names.clear()
    prepared(images)
    assert sorted(decoding.names) == sorted(NAMES)
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))


@pytest.mark.parametrize("size", [0, ROW_BYTES, len(NAMES) * ROW_BYTES + 1, None])
def test_a_pixel_file_of_another_size_begins_anew(images: ImageList, decoding: Decoding, size: int | None) -> None:
    cache = prepared(images)
    if size is None:
        pixel_file(cache).unlink()
    else:
        os.truncate(pixel_file(cache), size)
    assert not cache.begun() and not cache.complete()
    decoding.names.clear()
    prepared(images)
    assert sorted(decoding.names) == sorted(NAMES)
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))


def test_a_full_disk_is_refused_before_any_write(
    images: ImageList, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30_000_000))
    monkeypatch.setattr(PixelCache, "size", 1_230_000_000)
    with pytest.raises(RbdmlError, match=r"'birds' decoded takes 1\.23 GB and .* has 0\.03 GB left: .*--no-cache"):
        prepared(images)
    assert decoding.names == []
    assert [path.name for path in cache_of(images).folder.iterdir() if path.name != ".lock"] == []


def test_room_for_exactly_the_pixels_is_enough(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=len(NAMES) * ROW_BYTES))
    prepared(images)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    change(images.root / NAMES[0], 98)
    prepared(images)  # the room is taken already
    assert cache_of(images).complete()


def test_the_size_of_the_cache_is_printed_once(images: ImageList) -> None:
    hearing = Hearing()
    for _ in range(2):
        cache_of(images).prepare("birds", progress=hearing)
    [said] = hearing.heard
    assert said.startswith("decoding 7 images of 'birds' once: 0.00 GB in ")


@pytest.mark.parametrize(("keep", "advised"), [(True, True), (False, False)])
def test_a_cache_that_cannot_be_written_is_named_with_a_remedy(images: ImageList, keep: bool, advised: bool) -> None:
    (images.root.parent / "cache").touch()
    with pytest.raises(RbdmlError, match=r"cannot write decoded images to .*/cache/.*\$RBDML_CACHE") as caught:
        prepared(images, keep_pixels=keep)
    assert ("--no-cache" in str(caught.value)) == advised


def test_without_pixels_every_file_is_checked_once_and_none_is_kept(images: ImageList, decoding: Decoding) -> None:
    cache = prepared(images, keep_pixels=False)
    assert sorted(decoding.names) == sorted(NAMES)
    assert cache.size == 0
    assert cache.complete()
    assert not pixel_file(cache).exists()
    assert cache.content_hash() == prepared(images).content_hash()
    decoding.names.clear()
    prepared(images, keep_pixels=False)
    assert decoding.names == []


def test_without_pixels_a_corrupt_file_is_named_too(images: ImageList) -> None:
    (images.root / NAMES[6]).write_text("no image")
    with pytest.raises(RbdmlError, match=r"/set/d/0\.jpg: cannot be read as an image"):
        prepared(images, keep_pixels=False)


def test_without_pixels_no_room_is_needed(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    assert prepared(images, keep_pixels=False).complete()


def test_a_second_process_waits_and_finds_the_work_done(images: ImageList, decoding: Decoding, tmp_path: Path) -> None:
    cache = cache_of(images)
    done = PixelCache(tmp_path / "other", images, SIDE)
    done.prepare("birds", progress=QUIET)
    decoding.names.clear()
    cache.folder.mkdir(parents=True)
    waits = Event()
    hearing = Hearing(answer=waits.set)
    ended: list[bool] = []

    def prepare() -> None:
        cache.prepare("birds", progress=hearing)
        ended.append(True)

    second = Thread(target=prepare, daemon=True)
    with FileLock(cache.folder / ".lock"):  # the first process
        second.start()
        assert waits.wait(30)
        for file in ("pixels.u8", "index.json"):
            shutil.copyfile(done.folder / file, cache.folder / file)
    second.join(30)
    assert ended == [True]
    assert hearing.heard == ["another process is preparing 'birds': waiting for it"]
    assert decoding.names == []
    assert torch.equal(all_rows(cache), naive_rows(images, SIDE))


def test_a_complete_cache_needs_no_lock_and_no_writing(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be on a disk that is read-only, or shared."""
    cache = prepared(images)
    before = {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    monkeypatch.setattr(module, "exclusive_or_wait", None)
    assert torch.equal(all_rows(prepared(images)), naive_rows(images, SIDE))
    assert {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()} == before


def test_the_lock_is_free_after_a_failure(images: ImageList, decoding: Decoding) -> None:
    decoding.fails_at, decoding.error = NAMES[0], RbdmlError("broken")
    with pytest.raises(RbdmlError, match="broken"):
        prepared(images)
    with FileLock(cache_of(images).folder / ".lock", timeout=0):
        pass


@pytest.mark.parametrize("row", [0, 3, 6])
def test_a_flipped_byte_is_found_when_the_pixels_are_read_again(images: ImageList, row: int) -> None:
    cache = prepared(images)
    cache.verify()
    with pixel_file(cache).open("r+b") as file:
        file.seek(row * ROW_BYTES + 5)
        [byte] = file.read(1)
        file.seek(row * ROW_BYTES + 5)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(RbdmlError, match=rf"pixels\.u8: row {row} \({NAMES[row]}\) has changed on disk: remove "):
        cache.verify()


def test_rows_that_were_never_written_are_not_verified(images: ImageList, decoding: Decoding) -> None:
    decoding.fails_at = NAMES[4]
    with pytest.raises(KeyboardInterrupt):
        prepared(images)
    with pytest.raises(RbdmlError, match=r"row 4 \(c/0\.png\)"):
        cache_of(images).verify()


def test_the_hash_of_a_split_is_over_paths_classes_and_files(images: ImageList) -> None:
    naive = hashlib.sha256()
    for path, label in zip(NAMES, (0, 0, 1, 1, 2, 2, 3), strict=True):
        source = hashlib.sha256((images.root / path).read_bytes()).hexdigest()
        naive.update(f"{path}\0{label}\0{source}\n".encode())
    assert prepared(images).content_hash() == naive.hexdigest()


def test_other_classes_make_another_hash_without_decoding_anew(images: ImageList, decoding: Decoding) -> None:
    before = prepared(images).content_hash()
    decoding.names.clear()
    other = prepared(replace(images, labels=images.labels.flip(0)))
    assert decoding.names == []
    assert other.content_hash() != before


def test_another_path_of_the_same_file_makes_another_hash(images: ImageList) -> None:
    before = prepared(images).content_hash()
    (images.root / NAMES[6]).rename(images.root / "d/1.jpg")
    assert prepared(replace(images, paths=(*NAMES[:6], "d/1.jpg"))).content_hash() != before


def test_the_hash_does_not_depend_on_where_the_set_is_or_how_large_it_is_stored(images: ImageList) -> None:
    before = prepared(images).content_hash()
    moved = images.root.with_name("moved")
    shutil.copytree(images.root, moved)
    other = cache_of(replace(images, root=moved), side=SIDE * 2)
    other.prepare("birds", progress=QUIET)
    assert other.content_hash() == before


def test_pixels_that_are_gone_are_not_taken_for_black_ones(images: ImageList, decoding: Decoding) -> None:
    """A new pixel file is empty: until its rows are written nobody may find it complete."""
    cache = prepared(images)
    pixel_file(cache).unlink()
    decoding.names.clear()
    decoding.fails_at, decoding.error = NAMES[0], KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        prepared(images)
    assert not cache_of(images).complete()


def test_the_pixels_have_their_room_before_they_are_written(images: ImageList) -> None:
    """A sparse file would end the process when the disk fills up."""
    stat = pixel_file(prepared(images)).stat()
    assert stat.st_blocks * 512 >= stat.st_size


def test_a_file_that_vanishes_after_the_look_is_named(images: ImageList, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageList, "check_present", lambda *_: None)
    (images.root / NAMES[2]).unlink()
    with pytest.raises(RbdmlError, match=f"{NAMES[2]}: cannot be read"):
        prepared(images)


def test_a_name_that_is_not_utf8_has_a_hash_too(tmp_path: Path) -> None:
    images = write_list(tmp_path / "odd", ["0.jpg", "1.jpg"])
    odd = "caf\udce9.jpg"  # a Latin-1 name, as Python reads it
    (tmp_path / "odd" / "1.jpg").rename(tmp_path / "odd" / odd)
    assert len(prepared(ImageList(images.root, ("0.jpg", odd), images.labels)).content_hash()) == 64
