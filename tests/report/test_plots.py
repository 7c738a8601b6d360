from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from robustbench_dml.records import Record
from robustbench_dml.report.plots import write_plots

NAMES = ["efficiency.png", "efficiency.svg", "tradeoff.png", "tradeoff.svg"]


@pytest.fixture
def records(make_record: Callable[..., Record]) -> list[Record]:
    """Two defenses, two seeds, one of them collapsed."""
    return [
        make_record("regular", 5.0),
        make_record("regular", 7.0, seed=1),
        make_record("hm-lga-ics", 35.0),
        make_record("hm-lga-ics", 30.5, seed=1, flags=("collapsed",)),
    ]


def texts(svg: Path) -> list[str]:
    """What is written in a drawing."""
    return ["".join(text.itertext()) for text in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_four_files_are_written_and_nothing_else(tmp_path: Path, records: list[Record]) -> None:
    paths = write_plots(records, tmp_path)
    assert [path.name for path in paths] == NAMES
    assert sorted(tmp_path.iterdir()) == paths


def test_the_same_records_give_the_same_bytes(tmp_path: Path, records: list[Record]) -> None:
    first = [path.read_bytes() for path in write_plots(records, tmp_path)]
    assert [path.read_bytes() for path in write_plots(records, tmp_path)] == first


def test_the_order_of_the_records_does_not_count(tmp_path: Path, records: list[Record]) -> None:
    first = [path.read_bytes() for path in write_plots(records, tmp_path)]
    assert [path.read_bytes() for path in write_plots(records[::-1], tmp_path)] == first


def test_the_style_of_the_caller_neither_counts_nor_changes(tmp_path: Path, records: list[Record]) -> None:
    first = [path.read_bytes() for path in write_plots(records, tmp_path)]
    with mpl.rc_context({"axes.grid": True, "axes.facecolor": "red", "svg.hashsalt": "other"}):
        before = dict(mpl.rcParams)
        assert [path.read_bytes() for path in write_plots(records, tmp_path)] == first
        assert dict(mpl.rcParams) == before


def test_another_score_gives_other_drawings(
    tmp_path: Path, records: list[Record], make_record: Callable[..., Record]
) -> None:
    first = [path.read_bytes() for path in write_plots(records, tmp_path)]
    second = [path.read_bytes() for path in write_plots([*records[1:], make_record("regular", 6.0)], tmp_path)]
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_the_png_files_open_at_a_size_to_look_at(tmp_path: Path, records: list[Record]) -> None:
    for path in write_plots(records, tmp_path)[::2]:
        picture = imread(path)
        height, width, _ = picture.shape
        assert 600 <= width <= 2000
        assert 400 <= height <= width
        inked = float(np.mean(picture[..., :3].min(axis=-1) < 0.9))
        assert 0.005 < inked < 0.5  # neither blank nor filled


@pytest.mark.parametrize(("name", "x"), [("efficiency", "training cost"), ("tradeoff", "benign recall at 1")])
def test_the_drawings_say_what_they_show(tmp_path: Path, records: list[Record], name: str, x: str) -> None:
    write_plots(records, tmp_path)
    written = texts(tmp_path / f"{name}.svg")
    assert any(x in text for text in written)
    assert any("ERS" in text for text in written)
    assert any("fashion-mini, c2f2, protocol ers: PGD-32" in text for text in written)
    assert written.count("regular") == written.count("hm-lga-ics") == 1  # in the legend
    assert written.count("collapsed") == 1


def test_a_single_record_can_be_drawn(tmp_path: Path, make_record: Callable[..., Record]) -> None:
    assert len(write_plots([make_record()], tmp_path)) == len(NAMES)


def test_a_defense_that_is_no_longer_registered_can_be_drawn(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    write_plots([make_record(), make_record(in_spec={"defense": "gone"})], tmp_path)
    assert "gone" in texts(tmp_path / "tradeoff.svg")


@pytest.mark.parametrize("name", ["R@1", "ERS"])
def test_an_interval_that_rounding_moved_past_its_value_can_be_drawn(
    tmp_path: Path, make_record: Callable[..., Record], name: str
) -> None:
    # Where all queries score alike, as in a collapsed model, the resampled means are sums in another order.
    record = make_record()
    value = record.values[name]
    intervals = {**record.intervals, name: (float(np.nextafter(value, 100)), value)}
    write_plots([record.model_copy(update={"intervals": intervals})], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def test_only_what_disqualifies_is_written_beside_a_point(tmp_path: Path, records: list[Record]) -> None:
    doubted = records[3].diagnostics.model_copy(update={"flags": ["loss not level"], "disqualifying": []})
    mild = records[3].model_copy(update={"diagnostics": doubted})
    for record, shown in ((records[3], True), (mild, False)):
        svg = write_plots([*records[:3], record], tmp_path)[1]
        assert ("collapsed" in texts(svg), "loss not level" in texts(svg)) == (shown, False)
