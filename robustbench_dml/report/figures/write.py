"""Figures as files. The same rows give the same bytes, and a file that would stay the same is not touched."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import seaborn as sns
from matplotlib.figure import Figure

from robustbench_dml.report.figures.efficiency import draw_efficiency
from robustbench_dml.report.figures.profile import draw_profile
from robustbench_dml.report.figures.series import Layer, Passes, layer_of_reported, layer_of_rows
from robustbench_dml.report.figures.style import STYLES, FigureStyle, StyleName
from robustbench_dml.report.figures.tradeoff import draw_tradeoff
from robustbench_dml.report.published import Reported
from robustbench_dml.report.rows import Row
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import is_full, write_if_changed

# What the figures of arXiv:2203.01439 show of its many rows; of other data sets all are shown.
SHOWN = {
    ("cub", "resnet18"): ("ACT[R]", "ACT[S]", "HM[R,M]", "HM[S,M]", "HM[S,g_LGA]", "HM[S,g_LGA]&ICS"),
}
METADATA: dict[str, dict[str, Any]] = {  # nothing of the machine, the time or the version
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def write_figures(
    rows: Sequence[Row], folder: Path, style: StyleName = "screen", *, passes: Passes | None = None
) -> list[Path]:
    """Write `efficiency`, `tradeoff` and `profile` of comparable rows.

    Args:
        rows: at least one, the best first.
        folder: created if missing.
        style: file formats and size.
        passes: training cost of a row, see `layer_of_rows`.

    Returns:
        The files, in a fixed order. Without a known training cost there is no `efficiency`.

    Raises:
        RbdmlError: the folder cannot be written to.
    """
    return _write(layer_of_rows(rows, passes), folder, STYLES[style])


def write_published(reported: Sequence[Reported], folder: Path, style: StyleName = "screen") -> list[Path]:
    """Write `<data set>-efficiency` and `<data set>-tradeoff` of reported results, where these have values to draw.

    Returns:
        The files, written or as they should be. Where there are several backbones, names have that too.

    Raises:
        RbdmlError: the folder cannot be written to.
    """
    groups: dict[tuple[str, str], list[Reported]] = {}
    for one in reported:
        shown = SHOWN.get((one.dataset, one.backbone))
        if not one.collapsed and (shown is None or one.defense in shown):
            groups.setdefault((one.dataset, one.backbone), []).append(one)
    several = {dataset for dataset, _ in groups if sum(other == dataset for other, _ in groups) > 1}
    paths = []
    for (dataset, backbone), group in groups.items():
        prefix = f"{dataset}-{backbone}-" if dataset in several else f"{dataset}-"
        paths += _write(layer_of_reported(group), folder, STYLES[style], prefix)
    return paths


@contextmanager
def drawn_in(style: FigureStyle) -> Iterator[None]:
    """Settings of matplotlib for this style, whatever they are outside."""
    with mpl.rc_context(mpl.rcParamsDefault), mpl.rc_context(sns.axes_style("ticks")), mpl.rc_context(style.rc):
        yield


def _write(layer: Layer, folder: Path, style: FigureStyle, prefix: str = "") -> list[Path]:
    """Draw all figures of a layer, then write them."""
    with drawn_in(style):
        figures = {"efficiency": draw_efficiency(layer, style), "tradeoff": draw_tradeoff(layer, style)}
        if not layer.reported:
            figures["profile"] = draw_profile(layer, style)
        files = {
            folder / f"{prefix}{name}{style.suffix}.{kind}": _bytes(figure, kind)
            for name, figure in figures.items()
            if figure is not None
            for kind in style.formats
        }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, data in files.items():
            write_if_changed(path, data)
    except OSError as error:
        remedy = "free some space" if is_full(error) else "get permission"
        raise RbdmlError(
            f"cannot write figures to {folder} ({error.strerror}): {remedy}, or name another --out"
        ) from None
    return list(files)


def _bytes(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=METADATA[kind])
    return file.getvalue()
