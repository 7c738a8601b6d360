"""Figures as files. The same rows give the same bytes; unchanged files are not touched."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from robustbench_dml.report.figures.efficiency import draw_efficiency
from robustbench_dml.report.figures.overview import draw_overview
from robustbench_dml.report.figures.profile import draw_profile
from robustbench_dml.report.figures.series import Layer, Passes, layer_of_reported, layer_of_rows
from robustbench_dml.report.figures.sheet import settle
from robustbench_dml.report.figures.style import STYLES, FigureStyle, StyleName
from robustbench_dml.report.figures.tradeoff import draw_tradeoff
from robustbench_dml.report.published import Reported
from robustbench_dml.report.rows import Row
from robustbench_dml.utils.errors import RbdmlError
from robustbench_dml.utils.files import is_full, write_if_changed

# Defenses in the figures of arXiv:2203.01439, by data set and backbone; other figures show all.
SHOWN = {
    ("cub", "resnet18"): ("ACT[R]", "ACT[S]", "HM[R,M]", "HM[S,M]", "HM[S,g_LGA]", "HM[S,g_LGA]&ICS"),
}
METADATA: dict[str, dict[str, Any]] = {  # without machine, time and version
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def write_figures(
    rows: Sequence[Row], folder: Path, style: StyleName = "screen", *, passes: Passes | None = None
) -> list[Path]:
    """Write `overview`, `efficiency`, `tradeoff` and `profile` of comparable rows.

    Args:
        rows: comparable rows, at least one, the best first.
        folder: the folder to write to, created if missing.
        style: size and file formats.
        passes: training cost of a row, see `layer_of_rows`.

    Returns:
        The files. There is neither `overview` nor `efficiency` if no training cost is known.

    Raises:
        RbdmlError: the folder cannot be written to.
    """
    return _write(layer_of_rows(rows, passes), folder, STYLES[style])


def write_published(reported: Sequence[Reported], folder: Path, style: StyleName = "screen") -> list[Path]:
    """Write `<data set>-overview`, `<data set>-efficiency` and `<data set>-tradeoff` of reported results.

    Returns:
        The files. Names include the backbone where a data set has several.

    Raises:
        RbdmlError: the folder cannot be written to.
    """
    groups: dict[tuple[str, str], list[Reported]] = {}
    for row in reported:
        shown = SHOWN.get((row.dataset, row.backbone))
        if not row.collapsed and (shown is None or row.defense in shown):
            groups.setdefault((row.dataset, row.backbone), []).append(row)
    datasets = [dataset for dataset, _ in groups]
    paths = []
    for (dataset, backbone), group in groups.items():
        prefix = f"{dataset}-{backbone}-" if datasets.count(dataset) > 1 else f"{dataset}-"
        paths += _write(layer_of_reported(group), folder, STYLES[style], prefix)
    return paths


@contextmanager
def drawn_in(style: FigureStyle) -> Iterator[None]:
    """Set matplotlib to this style, regardless of the caller's settings."""
    with mpl.rc_context(mpl.rcParamsDefault), mpl.rc_context(style.rc):
        yield


def _write(layer: Layer, folder: Path, style: FigureStyle, prefix: str = "") -> list[Path]:
    """Draw all figures of a layer, then write them."""
    with drawn_in(style):
        figures = {
            "overview": draw_overview(layer, style),
            "efficiency": draw_efficiency(layer, style),
            "tradeoff": draw_tradeoff(layer, style),
        }
        if not layer.reported:
            figures["profile"] = draw_profile(layer, style)
        drawn = {name: figure for name, figure in figures.items() if figure is not None}
        for figure in drawn.values():
            settle(figure)
        files = {
            folder / f"{prefix}{name}{style.suffix}.{kind}": _bytes(figure, kind)
            for name, figure in drawn.items()
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
