"""Colours, markers and lines of the defenses, and the formats of figures. The page uses the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import seaborn as sns
from matplotlib.font_manager import findfont, get_font

# Any two colours differ by at least 20 in CIELAB, seen with full sight, protanopia, deuteranopia or tritanopia
# (Machado et al., 2009). They differ by at least 5 in lightness, which keeps them apart in grey.
COLOURS = {
    "regular": "#000000",
    "est": "#525252",
    "act": "#F0901E",
    "hm": "#183A9E",
    "hm-gradual": "#218952",
    "hm-ics": "#BC370E",
    "madry": "#C165B5",
    "ca-tride": "#5C95FF",
    "other": "#5F0061",
}
# The markers of the usual defenses, the same in every figure. None looks like the cross of the disqualified.
MARKERS: dict[str, Any] = {
    "regular[R]": "o",
    "EST[R]": "v",
    "SES[R]": "<",
    "ACT[R]": "s",
    "ACT[S]": "D",
    "HM[R,M]": ">",
    "HM[S,M]": "^",
    "HM[S,g_LGA]": "P",
    "HM[S,g_LGA]&ICS": "*",
    "madry": "h",
    "CA-TRIDE": "p",
}
SPARE: tuple[Any, ...] = ("d", (4, 1, 0), "H", (6, 1, 0), "8", (3, 1, 0))  # markers of all other defenses
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
INK, QUIET, FAINT = "#1A1A1A", "#5A5A5A", "#E3E3E3"
OUT = "#8A8A8A"  # disqualified defenses


def family_of(defense: str) -> str:
    """Return the family of a defense, from its registered name (`hm-s-lga`) or its paper name (`HM[S,g_LGA]`)."""
    name = defense.lower()
    if re.match(r"hm\b", name):
        gradual = re.search(r"lga|[-,]g(_|b|2|half)", name)
        return "hm-ics" if "ics" in name else "hm-gradual" if gradual else "hm"
    stem = re.split(r"[\[ ]", name)[0].removesuffix("-s")
    return {"ses": "est"}.get(stem, stem if stem in COLOURS else "other")


@dataclass(frozen=True)
class SeriesStyle:
    """Colour, marker and line of a defense.

    Attributes:
        colour: the colour of the defense's family.
        marker: marker, in matplotlib's notation.
        dash: line style, in matplotlib's notation.
    """

    colour: str
    marker: Any
    dash: Any


def series_styles(names: Iterable[str]) -> dict[str, SeriesStyle]:
    """Return a style for each defense of a figure, by its paper name.

    The family sets the colour. Markers repeat only when all are used, and then marker and line together stay unique.
    Lines differ within a family. The order of the names does not matter.
    """
    styles: dict[str, SeriesStyle] = {}
    for name in sorted(set(names), key=lambda name: (name not in MARKERS, name)):  # usual defenses first
        colour, taken = COLOURS[family_of(name)], list(styles.values())
        marker = MARKERS[name] if name in MARKERS else _rarest_marker(taken, colour)
        styles[name] = SeriesStyle(colour, marker, _rarest_dash(taken, colour, marker))
    return styles


def _rarest_marker(taken: Sequence[SeriesStyle], colour: str) -> Any:
    """Return the least used marker. Ties go to the marker least used in this colour, then to a spare marker."""
    used = [style.marker for style in taken]
    in_family = [style.marker for style in taken if style.colour == colour]
    return min((*SPARE, *MARKERS.values()), key=lambda marker: (used.count(marker), in_family.count(marker)))


def _rarest_dash(taken: Sequence[SeriesStyle], colour: str, marker: Any) -> Any:
    """Return the line least used with this marker. Ties go to the line least used in this colour."""
    used = [style.dash for style in taken if style.marker == marker]
    in_family = [style.dash for style in taken if style.colour == colour]
    return min(DASHES, key=lambda dash: (used.count(dash), in_family.count(dash)))


@cache
def _glyphs() -> frozenset[int]:
    """Characters that the last font of each style draws."""
    fonts = (get_font(findfont(name)) for name in ("DejaVu Sans", "DejaVu Serif"))
    return frozenset.intersection(*(frozenset(font.get_charmap()) for font in fonts))


def drawable(text: str) -> str:
    """Escape the characters that have no glyph in the fonts of the figures."""
    return "".join(char if ord(char) in _glyphs() else char.encode("unicode_escape").decode() for char in text)


StyleName = Literal["screen", "paper"]


@dataclass(frozen=True, kw_only=True)
class FigureStyle:
    """Size and file formats of figures.

    Attributes:
        suffix: the suffix of file names.
        formats: file formats.
        width: width of most figures, in inches.
        wide: width of figures with many panels, in inches.
        titled: whether figures have a heading; in a paper the caption replaces it.
        typeset: whether names have subscripts.
        rc: settings of matplotlib: sizes in points, colours, fonts.
    """

    suffix: str
    formats: tuple[str, ...]
    width: float
    wide: float
    titled: bool
    typeset: bool
    rc: Any


def _rc(font_scale: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of matplotlib, on top of seaborn's sizes for a paper."""
    return {
        **sns.axes_style("ticks"),
        **sns.plotting_context("paper", font_scale=font_scale),
        "svg.hashsalt": "rbdml",  # the same records give the same bytes
        "text.parse_math": False,  # a name may contain a dollar sign
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.7,
        "axes.grid": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "legend.frameon": False,
        "legend.handlelength": 2.4,
        "figure.constrained_layout.w_pad": 0.06,
        "figure.constrained_layout.h_pad": 0.06,
        "pdf.fonttype": 42,  # TrueType, which editors and publishers accept
        "figure.dpi": 200,
        "savefig.dpi": 200,
        **settings,
    }


STYLES: dict[StyleName, FigureStyle] = {
    "screen": FigureStyle(
        suffix="",
        formats=("png", "svg"),
        width=7.2,
        wide=7.2,
        titled=True,
        typeset=False,
        rc=_rc(
            0.92,
            {
                "font.family": ["DejaVu Sans"],
                "svg.fonttype": "none",
                "figure.labelsize": 7,
                "lines.markersize": 6.5,
            },
        ),
    ),
    "paper": FigureStyle(  # column and text width of most proceedings on computer vision
        suffix="-paper",
        formats=("svg", "pdf"),
        width=3.3,
        wide=6.9,
        titled=False,
        typeset=True,
        rc=_rc(
            0.8,
            {
                "font.family": ["STIXGeneral", "DejaVu Serif"],
                "mathtext.fontset": "stix",
                "svg.fonttype": "path",
                "figure.labelsize": 6,
            },
        ),
    ),
}
