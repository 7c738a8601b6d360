from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustbench_dml.datasets.emoji_set import prepare as making
from robustbench_dml.datasets.emoji_set.drawings import Drawing
from robustbench_dml.datasets.emoji_set.packages import Package
from robustbench_dml.datasets.emoji_set.prepare import canvas, prepare
from robustbench_dml.errors import RbdmlError
from robustbench_dml.progress import Progress

QUIET = Progress(quiet=True)
CHARS = {"1f534": "red", "1f7e2": "green", "1f535": "blue", "26aa": "white", "1f44d": "thumb", "1f44d-1f3fb": "toned"}


def square(colour: str, side: int) -> str:
    return f'<rect width="{side}" height="{side}" fill="{colour}"/>'


@pytest.fixture
def packages(make_package: Callable[..., Package]) -> list[Package]:
    """Four sets in which red, green and blue are whole, white is blank in one and thumb is broken in one."""
    made = []
    for number in range(4):
        side = 4 + number
        icons = {colour: square(colour, side) for colour in ("red", "green", "blue")}
        icons |= {"white": square("white" if number == 3 else "#ddd", side), "toned": square("#000", side)}
        icons["thumb"] = square("pink", side) if number else "<rect"
        made.append(make_package(f"set{number}", icons, chars=CHARS))
    return made


@pytest.fixture
def make(packages: list[Package], tgz: Path, tmp_path: Path) -> Callable[..., Path]:
    def run(target: str = "made", size: int = 16, order: int = 1) -> Path:
        prepare(tmp_path / target, size=size, source=tgz, progress=QUIET, packages=packages[::order])
        return tmp_path / target

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_index_lists_the_drawings_of_both_halves(make: Callable[..., Path], packages: list[Package]) -> None:
    folder = make()
    index = json.loads((folder / "index.json").read_text())
    assert {key: index[key] for key in ("version", "size", "canvas")} == {"version": 1, "size": 16, "canvas": 18}
    assert index["packages"] == {p.name: {"version": p.version, "sha256": p.sha256} for p in packages}
    assert (len(index["train"]), len(index["test"])) == (4, 8)
    rows = index["train"] + index["test"]
    assert sorted(rows) == [
        [f"images/{name}/set{number}.png", name] for name in ("blue", "green", "red") for number in range(4)
    ]
    assert index["test"] == sorted(index["test"])
    assert not {name for _, name in index["train"]} & {name for _, name in index["test"]}
    assert content(folder).keys() == {path for path, _ in rows} | {"index.json", "LICENSES.md"}


def test_a_drawing_is_on_white_in_the_middle_of_its_canvas(make: Callable[..., Path]) -> None:
    with Image.open(make(size=32) / "images" / "red" / "set0.png") as image:
        assert (image.mode, image.size, canvas(32)) == ("RGB", (36, 36), 36)
        pixels = np.asarray(image)
    red = (pixels == [255, 0, 0]).all(axis=2)
    assert red[2:18, 2:18].all()  # 4 of 8 units of 32 pixels, behind a margin of 2
    assert (pixels[~red] == 255).all()
    assert red.sum() == 16 * 16


@pytest.mark.parametrize(("size", "side"), [(64, 72), (224, 256), (16, 18)])
def test_the_canvas_leaves_room_for_crops(size: int, side: int) -> None:
    assert canvas(size) == side


def test_half_transparent_colours_are_mixed_with_white(
    make_package: Callable[..., Package], tgz: Path, tmp_path: Path
) -> None:
    body = '<rect width="8" height="{}" fill="#000" fill-opacity="0.5"/>'
    sets = [make_package(f"s{n}", {"grey": body.format(8 - n)}, chars={"26ab": "grey"}) for n in range(4)]
    prepare(tmp_path / "made", size=16, source=tgz, progress=QUIET, packages=sets)
    with Image.open(tmp_path / "made" / "images" / "grey" / "s0.png") as image:
        assert image.getpixel((9, 9)) == pytest.approx((127.5,) * 3, abs=1)


def test_an_icon_that_is_not_square_keeps_its_shape() -> None:
    drawing = Drawing('<rect width="8" height="4" fill="#000"/>', "0 0 8 4")
    dark = np.asarray(making.draw(drawing, 16)).max(axis=2) == 0
    assert dark[4:12].all()
    assert not dark[:4].any()
    assert not dark[12:].any()


def test_all_sizes_have_the_same_drawings(make: Callable[..., Path]) -> None:
    small, large = (json.loads((make(str(size), size=size) / "index.json").read_text()) for size in (16, 40))
    assert (small["train"], small["test"]) == (large["train"], large["test"])


def test_the_same_packages_give_the_same_bytes_in_any_order(make: Callable[..., Path]) -> None:
    assert content(make("one")) == content(make("two", order=-1))


def test_the_licences_name_every_set(make: Callable[..., Path], packages: list[Package]) -> None:
    text = (make() / "LICENSES.md").read_text()
    for package in packages:
        row = next(line for line in text.splitlines() if f"`{package.set_name}.png`" in line)
        parts = (package.title, package.author, package.licence, package.licence_url, package.origin, package.spec)
        assert all(part in row for part in parts)
    assert "no part of robustbench-dml" in text


@pytest.mark.parametrize("step", [(Image.Image, "save"), (Path, "write_text")], ids=["images", "licences"])
def test_an_interrupted_preparation_has_no_index_and_can_be_done_again(
    make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str]
) -> None:
    expected = content(make())

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            make()
    assert not (tmp_path / "made" / "index.json").exists()
    assert content(make()) == expected


@pytest.mark.parametrize("size", [15, 513, 0, -64])
def test_a_size_out_of_range_is_refused(make: Callable[..., Path], size: int) -> None:
    with pytest.raises(RbdmlError, match="from 16 to 512"):
        make(size=size)


def test_a_folder_that_cannot_be_written_to_is_refused(make: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RbdmlError, match=r"cannot write to .*file/made.*--data-root") as caught:
        make("file/made")
    assert "\n" not in str(caught.value)


def test_an_altered_package_is_refused_before_anything_is_written(
    make: Callable[..., Path], packages: list[Package], tgz: Path, tmp_path: Path
) -> None:
    path = tgz / packages[2].file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RbdmlError, match="truncated or altered"):
        make()
    assert not (tmp_path / "made").exists()


def test_without_a_source_the_packages_are_fetched(
    packages: list[Package], tgz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(package: Package, folder: Path) -> None:
        (tgz / package.file).rename(folder / package.file)

    monkeypatch.setattr(making, "fetch", fetch)
    prepare(tmp_path / "made", size=16, source=None, progress=QUIET, packages=packages)
    assert (tmp_path / "made" / "index.json").is_file()


def test_counts_that_are_not_those_of_the_pinned_packages_are_refused(
    make: Callable[..., Path], packages: list[Package], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(making, "PACKAGES", tuple(packages))
    with pytest.raises(RbdmlError, match=r"1 / 2 classes of 4 / 8 images.*784 / 784.*pip install resvg-py=="):
        make()
    assert not (tmp_path / "made").exists()


def test_without_the_renderer_its_installation_is_named(
    make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "resvg_py":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RbdmlError, match=r"not installed: `pip install resvg-py"):
        make()
