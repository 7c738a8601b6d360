from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from robustbench_dml.datasets.base import Split
from robustbench_dml.evaluation.trace import AttackTrace, Ranking
from robustbench_dml.report.picture import (
    HEIGHT,
    RIGHT,
    WIDTH,
    WRONG,
    check_picture,
    draw_picture,
    magnification,
    write_picture,
)
from robustbench_dml.spec.registry import ATTACKS
from robustbench_dml.utils.errors import RbdmlError

RNG = torch.Generator().manual_seed(0)
CAPTION = "glyphs-mini \u00b7 regular, weights 0123abcd \u00b7 PGD-32 \u00b7 seed 0"


def split(channels: int) -> Split:
    images = torch.randint(0, 256, (40, channels, 8, 8), dtype=torch.uint8, generator=RNG)
    return Split(images, torch.arange(40) % 4)


def made_trace(name: str = "qa-", *, channels: int = 1, change: float = 0.25, place: int = 3) -> AttackTrace:
    """An attack that is made up: image 0, target 9, which falls from `place` to 31."""
    info = ATTACKS.get(name)
    before = split(channels).batch(torch.tensor([0]))[0] * 0.5
    top = tuple(range(1, 9))
    candidate = info.cls.of_candidate
    targets = () if name == "es" else (9,)
    followed = (0,) if candidate else targets
    first = tuple(followed[0] if one == place else row for one, row in enumerate(top, 1)) if followed else top
    return AttackTrace(
        info=info,
        row=0,
        targets=targets,
        query=9 if candidate else 0,
        followed=followed,
        labels={row: row % 4 for row in range(40)},
        images=torch.stack([before, before + change * torch.linspace(-1, 1, 8).abs()]),
        before=Ranking(top=first, places=dict.fromkeys(followed, place)),
        after=Ranking(top=tuple(range(20, 28)), places=dict.fromkeys(followed, 31)),
        competitors=1234,
        values={column.name: (2.34, 87.65) for column in info.columns},
        moved=0.789,
    )


def texts(path: Path) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def drawn(trace: AttackTrace, channels: int = 1) -> Figure:
    return draw_picture(trace, split(channels), caption=CAPTION)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["picture.png", "picture.PNG", "picture.svg"])
def test_the_same_attack_gives_the_same_bytes_and_nothing_else(tmp_path: Path, name: str, channels: int) -> None:
    trace, images = made_trace(channels=channels), split(channels)
    write_picture(tmp_path / name, trace, images, caption=CAPTION)
    first = (tmp_path / name).read_bytes()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "svg.hashsalt": "other"}):
        write_picture(tmp_path / name, trace, images, caption=CAPTION)
    assert (tmp_path / name).read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_picture_names_image_attack_and_settings(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.svg", made_trace(), split(1), caption=CAPTION)
    written = texts(tmp_path / "a.svg")
    for part in (
        "QA-",
        "QA-  2.3 \u2192 87.7",
        "mean rank percentile; 100 bottom",
        "\u25c6 3 \u2192 31",
        "place of the target in the list, of 1,234",
        "0.789",
        "largest change 63.8/255",
        "perturbation \u00d7 2",
        "image 9, class 1",
        "the query's list before",
        "the query's list after",
        CAPTION,
    ):
        assert part in written, part
    assert any("the query is image 0, class 0" in text for text in written)


def test_a_candidate_is_labelled_as_a_candidate(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.svg", made_trace("ca+"), split(1), caption=CAPTION)
    written = texts(tmp_path / "a.svg")
    assert {"the target's list before", "place of the candidate in the list, of 1,234", "target, a query"} <= {*written}
    assert any("the candidate is image 0" in text for text in written)
    assert "\u2713 of the class of image 9, \u2717 of another" in written


def frames(figure: Figure) -> list[tuple[str, str, tuple[float, ...]]]:
    """The thumbnails: place, class, colour of the frame."""
    return [
        (axes.get_title(), axes.get_xlabel(), to_rgb(axes.spines["left"].get_edgecolor()))
        for axes in figure.axes
        if "class" in axes.get_xlabel() and "image" not in axes.get_xlabel()
    ]


def test_frames_places_and_classes_are_those_of_the_lists() -> None:
    found = frames(drawn(made_trace(place=3)))
    before, after = found[:8], found[8:]
    rows = [1, 2, 9, 4, 5, 6, 7, 8]
    assert [place for place, _, _ in before] == ["1", "2", "\u25c6 3", "4", "5", "6", "7", "8"]
    assert [(label, colour) for _, label, colour in before] == [
        (f"{chr(10003) if row % 4 == 0 else chr(10007)} class {row % 4}", to_rgb(RIGHT if row % 4 == 0 else WRONG))
        for row in rows
    ]
    assert [place for place, _, _ in after] == [*"12345678", "\u25c6 31"]  # the target, behind the others


def test_no_text_or_image_leaves_the_page() -> None:
    """In the widest case: a long name, a target far behind."""
    for name in ("qa-", "es", "ca-w10", "spqa+m10"):
        trace = made_trace(name)
        figure = drawn(replace(trace, values=dict.fromkeys(trace.values, (100.0, 100.0))))
        figure.canvas.draw()
        for text in figure.texts:
            edges = text.get_window_extent()
            assert edges.x0 >= 0 and edges.x1 <= WIDTH * figure.dpi, text.get_text()
            assert edges.y0 >= 0 and edges.y1 <= HEIGHT * figure.dpi, text.get_text()
        boxes = [box for axes in figure.axes if (box := axes.get_tightbbox()) is not None]
        for place, one in enumerate(boxes):
            assert not any(one.overlaps(other) for other in boxes[:place])


def test_a_long_caption_is_broken(tmp_path: Path) -> None:
    figure = draw_picture(made_trace(), split(1), caption=" \u00b7 ".join(["words"] * 60))
    figure.canvas.draw()
    assert all(text.get_window_extent().x1 <= WIDTH * figure.dpi for text in figure.texts)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_perturbation_is_scaled_around_grey(channels: int) -> None:
    trace = made_trace(channels=channels)
    assert magnification(trace) == pytest.approx(2.0)
    shown = np.asarray(drawn(trace, channels).axes[2].images[0].get_array())
    away = (trace.images[1] - trace.images[0]).permute(1, 2, 0).numpy()
    assert np.allclose(shown.reshape(away.shape), 0.5 + 2 * away, atol=1e-6)
    assert shown.max() == pytest.approx(1.0)


def test_an_attack_without_effect_has_nothing_to_magnify() -> None:
    trace = made_trace(change=0.0)
    assert magnification(trace) == 0
    figure = drawn(trace)
    assert figure.axes[2].get_title() == "no perturbation"
    assert np.all(np.asarray(figure.axes[2].images[0].get_array()) == 0.5)


def test_the_list_shows_the_attacked_image_in_its_state() -> None:
    trace = made_trace("ca+", place=1)
    shown = [np.asarray(axes.images[0].get_array()) for axes in drawn(trace).axes]
    thumbs = shown[4:]
    assert np.array_equal(thumbs[0], trace.images[0, 0].numpy())
    assert np.array_equal(thumbs[-1], trace.images[1, 0].numpy())


def test_the_png_has_a_fixed_size(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", made_trace(), split(1), caption=CAPTION)
    height, width, _ = imread(tmp_path / "a.png").shape
    assert (width, height) == (150 * WIDTH, 150 * HEIGHT)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a.jpg", "written as .png or .svg"),
        ("a", "written as"),
        ("no/a.png", "folder that exists"),
        ("d.png", "cannot"),
    ],
)
def test_unwritable_files_are_refused(tmp_path: Path, name: str, part: str) -> None:
    (tmp_path / "d.png").mkdir()
    for refuse in (check_picture, lambda path: write_picture(path, made_trace(), split(1), caption=CAPTION)):
        with pytest.raises(RbdmlError, match=part) as caught:
            refuse(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["d.png"]
