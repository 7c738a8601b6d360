from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from board_support import ENTRY, enter_made, foreign_spec, made_spec, make_leaderboards
from figures_support import main_board, texts, write_board
from matplotlib.image import imread
from PIL import Image

from robustbench_dml.leaderboard.board import Board
from robustbench_dml.report.figures.style import STYLES, StyleName
from robustbench_dml.report.figures.write import SHOWN, write_figures, write_published
from robustbench_dml.report.published import read_published
from robustbench_dml.report.rows import rows_of
from robustbench_dml.spec.schema import RunSpec
from robustbench_dml.utils.errors import RbdmlError

NAMES = ("overview", "efficiency", "tradeoff", "profile")
SCREEN = [f"{name}.{kind}" for name in NAMES for kind in ("png", "svg")]
PAPER = [f"{name}-paper.{kind}" for name in NAMES for kind in ("svg", "pdf")]
AGAIN = """
import sys
from pathlib import Path
from robustbench_dml.leaderboard.board import read_boards
from robustbench_dml.report.figures.write import write_figures
board = read_boards(Path(sys.argv[1]))[0]
for style in ("screen", "paper"):
    write_figures(board.rows, Path(sys.argv[2]), style, passes=board.passes)
"""


@pytest.fixture(scope="module")
def leaderboards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_leaderboards(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def board(leaderboards: Path) -> Board:
    return main_board(leaderboards)


def content(paths: list[Path]) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize(("style", "names"), [("screen", SCREEN), ("paper", PAPER)])
def test_the_files_of_a_board(board: Board, tmp_path: Path, style: StyleName, names: list[str]) -> None:
    paths = write_board(board, style, tmp_path / "new")
    assert paths == [tmp_path / "new" / name for name in names]
    assert sorted((tmp_path / "new").iterdir()) == sorted(paths)


def test_two_processes_write_the_same_bytes(leaderboards: Path, board: Board, tmp_path: Path) -> None:
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "MPLBACKEND": "svg"}
    command = [sys.executable, "-c", AGAIN, str(leaderboards), str(tmp_path / "there")]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    here = [path for style in STYLES for path in write_board(board, style, tmp_path / "here")]
    assert sorted(path.name for path in here) == sorted([*SCREEN, *PAPER])
    assert content(sorted((tmp_path / "there").iterdir())) == content(sorted(here))


def test_unchanged_files_are_not_touched(board: Board, tmp_path: Path) -> None:
    paths = write_board(board, "screen", tmp_path)
    for path in paths:
        os.utime(path, (1, 1))
    paths[1].write_bytes(b"another")
    write_board(board, "screen", tmp_path)
    assert [path for path in paths if path.stat().st_mtime != 1] == [paths[1]]


def test_the_order_of_the_records_and_the_style_of_the_caller_do_not_count(board: Board, tmp_path: Path) -> None:
    records = [record for row in board.rows for record in row.records]
    first = content(write_figures(rows_of(records), tmp_path / "first"))
    with mpl.rc_context({"axes.grid": False, "axes.facecolor": "red", "svg.hashsalt": "other", "font.size": 20}):
        before = dict(mpl.rcParams)
        assert content(write_figures(rows_of(records[::-1]), tmp_path / "second")) == first
        assert dict(mpl.rcParams) == before


def test_another_score_gives_other_figures(board: Board, tmp_path: Path) -> None:
    first = content(write_figures(board.rows, tmp_path / "first"))
    best = board.rows[0]
    values = {name: value + 0.5 for name, value in best.values.items()}
    second = content(write_figures([replace(best, values=values), *board.rows[1:]], tmp_path / "second"))
    assert all(first[name] != second[name] for name in first)


def test_images_have_a_fixed_size_and_no_trace_of_the_machine(board: Board, tmp_path: Path) -> None:
    for path in write_board(board, "screen", tmp_path):
        if path.suffix == ".png":
            picture = imread(path)
            assert picture.shape[1] == 1440
            inked = float(np.mean(picture[..., :3].min(axis=-1) < 0.9))
            assert 0.005 < inked < 0.5  # neither blank nor filled
            with Image.open(path) as image:
                assert set(image.info) <= {"dpi"}
        else:
            assert b"<dc:date>" not in path.read_bytes()
            assert mpl.__version__.encode() not in path.read_bytes()


def test_drawings_name_board_and_defenses(board: Board, tmp_path: Path) -> None:
    write_board(board, "screen", tmp_path)
    for name in NAMES:
        written = texts(tmp_path / f"{name}.svg")
        assert board.title in written
        assert any("95% over seeds and queries" in text for text in written)
        assert {"HM[S,g_LGA]&ICS", "ACT[R]", "madry: collapsed"} <= set(written)
        assert 'id="hm-lga-ics"' in (tmp_path / f"{name}.svg").read_text()  # findable by its name here


def test_paper_has_no_heading_and_embeds_its_fonts(board: Board, tmp_path: Path) -> None:
    for path in write_board(board, "paper", tmp_path):
        data = path.read_bytes()
        if path.suffix == ".pdf":
            assert b"/FontFile2" in data
            assert b"/Type3" not in data
            assert b"CreationDate" not in data
        else:
            assert texts(path) == []
            width = float(ElementTree.fromstring(data).attrib["width"].removesuffix("pt")) / 72
            assert width == pytest.approx(3.3 if path.name.startswith(("efficiency", "tradeoff")) else 6.9)


HOSTILE = "</svg><script>alert(1)</script>\n$\\frac{\x07" + "x" * 5000


def test_no_name_can_break_a_figure(tmp_path: Path) -> None:
    for place, name in enumerate((HOSTILE, "$", "$$", r"$\alpha$", "\u202eabc", "")):
        spec = RunSpec.model_validate({**dict(made_spec(seed=place)), "defense": name})
        enter_made(tmp_path, spec, flags=[HOSTILE], disqualifying=[HOSTILE] if place == 1 else [])
    for style in ("screen", "paper"):
        for path in write_board(main_board(tmp_path), style, tmp_path / style):
            if path.suffix == ".svg":
                assert ElementTree.parse(path).getroot().find(".//{*}script") is None
                assert "<script" not in path.read_text()


def test_without_known_costs_there_is_no_efficiency(tmp_path: Path) -> None:
    enter_made(tmp_path, foreign_spec())
    paths = write_board(main_board(tmp_path))
    assert [path.name for path in paths] == SCREEN[4:]


def test_a_declared_cost_is_enough(tmp_path: Path) -> None:
    enter_made(tmp_path, foreign_spec(), entry=ENTRY.model_copy(update={"declared_passes": 5e6}))
    assert [path.name for path in write_board(main_board(tmp_path))] == SCREEN


def test_every_protocol_can_be_drawn(tmp_path: Path) -> None:
    enter_made(tmp_path, foreign_spec(protocol="autorank", surrogate="0" * 16))
    enter_made(tmp_path, foreign_spec(extra_attacks=("spqa+", "ca+w2")))
    for protocol, columns in (("autorank", 2), ("ers", 12)):
        [board] = [one for one in all_boards(tmp_path) if one.evaluation.protocol == protocol]
        write_board(board)
        titles = set(texts(board.folder / "profile.svg")) & set(board.columns)
        assert len(titles) == len(board.columns) >= columns


def all_boards(leaderboards: Path) -> list[Board]:
    from robustbench_dml.leaderboard.board import read_boards

    return read_boards(leaderboards)


@pytest.mark.parametrize("block", [Path.touch, lambda path: (path / "tradeoff.svg").mkdir(parents=True)])
def test_a_folder_that_cannot_be_written_to_is_refused(
    board: Board, tmp_path: Path, block: Callable[[Path], None]
) -> None:
    block(tmp_path / "there")
    with pytest.raises(RbdmlError, match=r"cannot write figures to .*there.*--out"):
        write_board(board, "screen", tmp_path / "there")
    assert [path for path in tmp_path.rglob(".*") if path.is_file()] == []  # no part of a file


def test_the_figures_of_the_published_layer(tmp_path: Path) -> None:
    paths = write_published(read_published(), tmp_path)
    stems = [f"{dataset}-{name}" for dataset in ("cub", "cars", "sop", "fashion", "mnist") for name in NAMES[:3]]
    assert [path.name for path in paths] == [f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")]
    for name in NAMES[:3]:
        written = set(texts(tmp_path / f"cub-{name}.svg"))
        assert set(SHOWN["cub", "resnet18"]) <= written
        assert "EST[R]" not in written  # which that figure of the paper leaves out
    assert {"regular[R]", "EST[R]", "ACT[R]", "HM[S,g_LGA]&ICS"} <= set(texts(tmp_path / "cars-tradeoff.svg"))


def test_two_backbones_of_a_data_set_have_figures_of_their_own(tmp_path: Path) -> None:
    cars = [one for one in read_published() if one.dataset == "cars"]
    both = [*cars, *(replace(one, backbone="resnet50") for one in cars)]
    names = [path.name for path in write_published(both, tmp_path, "paper")]
    assert "cars-resnet18-efficiency-paper.pdf" in names
    assert "cars-resnet50-tradeoff-paper.svg" in names
    assert len(names) == len(set(names)) == 12
