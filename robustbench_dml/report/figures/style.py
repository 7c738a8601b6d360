"""One look for every figure and the page: which colour, marker and line stand for which defense, and the styles."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# Chosen so that any two differ by at least 20 in CIELAB as seen with full sight, protanopia, deuteranopia and
# tritanopia (Machado et al., 2009), and by 5 in lightness, so that none is lost in grey.
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
# The usual defenses always have the same marker; others get one that is left in the figure. None looks like a cross,
# which stands for the disqualified.
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
SPARE: tuple[Any, ...] = ("d", (4, 1, 0), "H", (6, 1, 0), "8", (3, 1, 0))
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
INK, QUIET, FAINT = "#1A1A1A", "#5A5A5A", "#E3E3E3"
OUT = "#8A8A8A"  # of the disqualified


def family_of(defense: str) -> str:
    """The family of a defense, by its registered name (`hm-s-lga`) or as papers write it (`HM[S,g_LGA]`)."""
    name = defense.lower()
    if re.match(r"hm\b", name):
        gradual = re.search(r"lga|[-,]g(_|b|2|half)", name)
        return "hm-ics" if "ics" in name else "hm-gradual" if gradual else "hm"
    stem = re.split(r"[\[ ]", name)[0].removesuffix("-s")
    return {"ses": "est"}.get(stem, stem if stem in COLOURS else "other")


@dataclass(frozen=True)
class SeriesStyle:
    """How a defense is drawn.

    Attributes:
        colour: of its family.
        marker: as matplotlib takes it.
        dash: of its line, as matplotlib takes it.
    """

    colour: str
    marker: Any
    dash: Any


def series_styles(names: Iterable[str]) -> dict[str, SeriesStyle]:
    """A look for each defense of a figure, by its name as papers write it.

    Colours are those of the families. No two share a marker while there are markers left, and then none shares
    marker and line with another; within a family, lines differ. The order of the names does not count.
    """
    shown = sorted(set(names), key=lambda name: (name not in MARKERS, name))
    found: dict[str, SeriesStyle] = {}
    for name in shown:  # those with a marker of their own first
        colour, taken = COLOURS[family_of(name)], list(found.values())
        marker = MARKERS[name] if name in MARKERS else _spare_marker(taken, colour)
        found[name] = SeriesStyle(colour, marker, _spare_dash(taken, colour, marker))
    return found


def _spare_marker(taken: Sequence[SeriesStyle], colour: str) -> Any:
    """The marker that is there least often, in this colour least of all; those that are nobody's own come first."""
    used = [look.marker for look in taken]
    own = [look.marker for look in taken if look.colour == colour]
    return min((*SPARE, *MARKERS.values()), key=lambda marker: (used.count(marker), own.count(marker)))


def _spare_dash(taken: Sequence[SeriesStyle], colour: str, marker: Any) -> Any:
    """The line that is there least often with this marker, and then in this colour."""
    used = [look.dash for look in taken if look.marker == marker]
    own = [look.dash for look in taken if look.colour == colour]
    return min(DASHES, key=lambda dash: (used.count(dash), own.count(dash)))


StyleName = Literal["screen", "paper"]


@dataclass(frozen=True, kw_only=True)
class FigureStyle:
    """A size to look at.

    Attributes:
        name: of the style.
        suffix: of the names of its files.
        formats: of its files.
        width: of most figures, in inches.
        wide: of a figure with many panels, in inches.
        size: of text, in points.
        small: of ticks and keys.
        print_size: of the small print.
        marker: length of a marker in points.
        titled: whether figures have a heading; in a paper the caption says it.
        typeset: whether names have subscripts.
        rc: settings of matplotlib.
    """

    name: StyleName
    suffix: str
    formats: tuple[str, ...]
    width: float
    wide: float
    size: float
    small: float
    print_size: float
    marker: float
    titled: bool
    typeset: bool
    rc: Any = field(default_factory=dict)


BASE: dict[str, Any] = {
    "svg.hashsalt": "rbdml",  # the same records give the same bytes
    "text.parse_math": False,  # names are text, whatever is in them
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # fonts that editors and publishers take
    "figure.dpi": 200,
    "savefig.dpi": 200,
}
STYLES: dict[StyleName, FigureStyle] = {
    "screen": FigureStyle(
        name="screen",
        suffix="",
        formats=("png", "svg"),
        width=7.2,
        wide=7.2,
        size=9,
        small=8,
        print_size=7,
        marker=6.5,
        titled=True,
        typeset=False,
        rc={**BASE, "font.family": ["DejaVu Sans"], "svg.fonttype": "none"},
    ),
    # Column and text width of the proceedings of most conferences on computer vision.
    "paper": FigureStyle(
        name="paper",
        suffix="-paper",
        formats=("svg", "pdf"),
        width=3.3,
        wide=6.9,
        size=8,
        small=7.5,
        print_size=6,
        marker=4.5,
        titled=False,
        typeset=True,
        rc={
            **BASE,
            "font.family": ["STIXGeneral", "DejaVu Serif"],
            "mathtext.fontset": "stix",
            "svg.fonttype": "path",
        },
    ),
}
