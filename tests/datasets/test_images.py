from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_trees import naive_pixels, naive_rows, noise, write_image, write_list
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from robustbench_dml.datasets import images
from robustbench_dml.datasets.images import ImageFiles, decode
from robustbench_dml.utils.errors import RbdmlError

SIDE = 16


def square(*seed: int) -> np.ndarray:
    """(S, S, 3) uint8, which needs no resizing."""
    return np.random.default_rng(seed).integers(0, 256, size=(SIDE, SIDE, 3), dtype=np.uint8)


def saved(path: Path, image: Image.Image, **options: Any) -> np.ndarray:
    """(S, S, 3) int: decoded image of the right size."""
    image.save(path, **options)
    pixels = decode(path, SIDE).pixels
    assert pixels.shape == (3, SIDE, SIDE)
    assert pixels.dtype == np.uint8
    assert pixels.flags["C_CONTIGUOUS"]
    return np.moveaxis(pixels, 0, 2).astype(int)


def test_an_rgb_image_of_the_right_size_is_taken_as_it_is(tmp_path: Path) -> None:
    assert np.array_equal(saved(tmp_path / "a.png", Image.fromarray(square(0))), square(0))


def test_a_grey_image_has_three_equal_channels(tmp_path: Path) -> None:
    grey = square(1)[..., 0]
    assert np.array_equal(saved(tmp_path / "a.png", Image.fromarray(grey)), np.stack([grey] * 3, axis=2))


def test_a_black_and_white_image_has_the_two_ends_of_the_range(tmp_path: Path) -> None:
    ink = square(2)[..., 0] > 127
    assert np.array_equal(saved(tmp_path / "a.png", Image.fromarray(ink)), np.stack([ink * 255] * 3, axis=2))


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_inks_are_subtracted_from_white(tmp_path: Path, suffix: str) -> None:
    inks = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    inks[:] = (200, 100, 0, 51)  # of one colour, so that JPEG keeps it
    found = saved(tmp_path / f"a.{suffix}", Image.frombytes("CMYK", (SIDE, SIDE), inks.tobytes()))
    naive = [(255 - ink) * (255 - 51) / 255 for ink in (200, 100, 0)]
    assert np.abs(found - naive).max() <= 3


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    indices = square(3)[..., 0] % 7
    colours = square(4)[0, :7]
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    assert np.array_equal(saved(tmp_path / "a.png", image), colours[indices])


def test_a_transparent_palette_colour_becomes_white(tmp_path: Path) -> None:
    indices = square(3)[..., 0] % 7
    colours = square(4)[0, :7]
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    colours[2] = 255
    assert np.array_equal(saved(tmp_path / "a.png", image, transparency=2), colours[indices])


def on_white(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opacity = alpha[..., None] / 255
    return values * opacity + 255 * (1 - opacity)


def test_transparent_colours_are_laid_on_white(tmp_path: Path) -> None:
    colours, alpha = square(5), square(6)[..., 0]
    alpha[0], alpha[1] = 0, 255
    found = saved(tmp_path / "a.png", Image.fromarray(np.dstack([colours, alpha])))
    assert np.abs(found - on_white(colours, alpha)).max() <= 1
    assert (found[0] == 255).all()
    assert np.array_equal(found[1], colours[1])


def test_transparent_greys_are_laid_on_white(tmp_path: Path) -> None:
    grey, alpha = square(7)[..., 0], square(8)[..., 0]
    alpha[0] = 0
    image = Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))
    found = saved(tmp_path / "a.png", image)
    assert np.abs(found - on_white(grey[..., None], alpha)).max() <= 1
    assert (found[0] == 255).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_greys_of_16_bits_keep_their_high_byte_and_are_not_clipped_to_white(tmp_path: Path, name: str) -> None:
    deep = np.random.default_rng(9).integers(0, 1 << 16, size=(SIDE, SIDE), dtype=np.uint16)
    image = Image.fromarray(deep)
    if name.endswith(".pgm"):
        (tmp_path / name).write_bytes(f"P5 {SIDE} {SIDE} 65535\n".encode() + deep.astype(">u2").tobytes())
        found = np.moveaxis(decode(tmp_path / name, SIDE).pixels, 0, 2)
    else:
        found = saved(tmp_path / name, image)
    assert np.array_equal(found, np.stack([deep // 256] * 3, axis=2))


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_of_no_known_range_are_refused(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.ones((8, 8), dtype=kind)).save(tmp_path / "a.tif")
    with pytest.raises(RbdmlError, match=r"a\.tif: cannot be read as an image \(its pixels have neither 8 nor 16"):
        decode(tmp_path / "a.tif", SIDE)


@pytest.mark.parametrize("shape", [(40, 40), (5, 60), (60, 5), (1, 1), (16, 20)])
def test_any_shape_is_resized_to_the_square_bilinearly(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "a.png"
    picture = np.random.default_rng(shape).integers(0, 256, size=(*shape, 3), dtype=np.uint8)
    Image.fromarray(picture).save(path)
    assert np.array_equal(decode(path, SIDE).pixels, naive_pixels(path, SIDE))


def test_a_reduction_takes_every_pixel_into_account(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255  # without antialiasing, a reduction by four sees one of the two colours
    Image.fromarray(stripes).save(tmp_path / "a.png")
    found = decode(tmp_path / "a.png", SIDE).pixels[:, :, 2:-2]
    assert (np.abs(found.astype(int) - 127) <= 2).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP"])
def test_the_content_counts_and_not_the_suffix(tmp_path: Path, kind: str) -> None:
    right, wrong = tmp_path / "a.right", tmp_path / "a.gif"
    Image.fromarray(noise(3)).save(right, kind)
    wrong.write_bytes(right.read_bytes())
    assert np.array_equal(decode(wrong, SIDE).pixels, naive_pixels(right, SIDE))


def test_pixels_are_taken_as_stored_whatever_exif_says_of_their_orientation(tmp_path: Path) -> None:
    image, turned = Image.new("RGB", (8, 8), (200, 0, 0)), Image.Exif()
    image.paste((0, 0, 200), (0, 0, 8, 4))
    turned[0x0112] = 6  # shown after a quarter turn
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "turned.png", exif=turned)
    plain, found = (decode(tmp_path / f"{name}.png", 8).pixels for name in ("plain", "turned"))
    assert np.array_equal(found, plain)


def test_the_source_is_the_hash_of_the_file(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.jpg", 1)
    assert decode(path, SIDE).source == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(RbdmlError, match=r"/a\.jpg: an empty file, not an image: get a fresh copy"):
        decode(tmp_path / "a.jpg", SIDE)


@pytest.mark.parametrize("lost", [1, 2, 100, 400])
def test_a_jpeg_that_ends_too_early_is_named(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(square(10)).save(path)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(RbdmlError, match=r"/a\.jpg: cannot be read as an image \(.*[Tt]runcated.*\): get a fresh copy"):
        decode(path, SIDE)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_half_an_image_of_any_format_is_named(tmp_path: Path, kind: str) -> None:
    whole = io.BytesIO()
    Image.fromarray(square(11)).save(whole, kind)
    path = tmp_path / "a.img"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(RbdmlError, match=r"/a\.img: cannot be read as an image"):
        decode(path, SIDE)


def test_a_text_with_the_suffix_of_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not an image at all")
    with pytest.raises(RbdmlError, match=r"/a\.jpg: cannot be read as an image \(in no known format\)"):
        decode(tmp_path / "a.jpg", SIDE)


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(RbdmlError, match=r"/a\.jpg: .*\(No such file or directory\)") as caught:
        decode(tmp_path / "a.jpg", SIDE)
    assert str(caught.value).count("a.jpg") == 1


def test_a_bomb_is_refused_before_it_takes_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "a.png", 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(RbdmlError, match=r"/a\.png: cannot be read as an image \(Image size"):
        decode(tmp_path / "a.png", SIDE)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 0, 2], [1, 1, 1, 0, 1], [2]])
def test_image_files_are_decoded_row_by_row_in_the_order_asked_for(tmp_path: Path, rows: list[int]) -> None:
    images = write_list(tmp_path, ["c.jpg", "sub/a.jpg", "b.png", "d.jpg"])
    files = ImageFiles(images, SIDE)
    assert files.shape == (4, 3, SIDE, SIDE)
    found = files[torch.tensor(rows)]
    assert found.dtype == torch.uint8
    assert torch.equal(found, naive_rows(images, SIDE)[rows])


def test_image_files_name_the_row_that_cannot_be_read(tmp_path: Path) -> None:
    images = write_list(tmp_path, ["a.jpg", "b.jpg"])
    files = ImageFiles(images, SIDE)
    (tmp_path / "b.jpg").write_bytes(b"x")
    assert len(files[torch.tensor([0])]) == 1
    with pytest.raises(RbdmlError, match=r"/b\.jpg: cannot be read"):
        files[torch.tensor([0, 1])]


def test_other_formats_than_photographs_are_not_decoded(tmp_path: Path) -> None:
    """For PostScript Pillow would start another program, with any the suffix."""
    Image.fromarray(square(12)).save(tmp_path / "a.eps")
    Image.fromarray(square(12)).save(tmp_path / "b.ico")
    for name in ("a.eps", "b.ico"):
        (tmp_path / name).rename(tmp_path / "a.jpg")
        with pytest.raises(RbdmlError, match=r"/a\.jpg: cannot be read as an image \(in no known format\)"):
            decode(tmp_path / "a.jpg", SIDE)


def test_more_pixels_than_a_photograph_has_are_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.png", 1)
    monkeypatch.setattr(images, "MOST_PIXELS", 10)
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(RbdmlError, match=r"/a\.png: cannot be read as an image \(\d+ x \d+ pixels\)"):
        decode(path, SIDE)


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.png", 1)
    monkeypatch.setattr(images, "MOST_BYTES", 10)
    with pytest.raises(RbdmlError, match=r"/a\.png: cannot be read as an image .larger than 10 bytes"):
        decode(path, SIDE)


@pytest.mark.parametrize(
    "error", [KeyError("tag"), RuntimeError("codec"), MemoryError(), ZeroDivisionError()], ids=repr
)
def test_every_failure_of_pillow_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load(_: object) -> None:
        raise error

    path = write_image(tmp_path / "a.png", 1)
    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(RbdmlError, match=r"/a\.png: cannot be read as an image"):
        decode(path, SIDE)
