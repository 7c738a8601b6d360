from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_dml.report.figures.style import COLOURS, MARKERS, STYLES, family_of, series_styles
from robustbench_dml.report.names import paper_name
from robustbench_dml.spec.parameters import resolve_params
from robustbench_dml.spec.registry import DEFENSES

# How linear RGB is seen, severity 1. Machado, Oliveira and Fernandes, IEEE TVCG 2009, as their tables print it.
SIGHTS = {
    "full": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
NAMES = [*MARKERS, *(f"defense-{number}" for number in range(12)), "HM[S,-\u03b3]", "HM[R,g_LGA]", "HM[R,M]&ICS"]


def linear(colour: str) -> np.ndarray:
    """(3,) linear RGB of `#RRGGBB`."""
    value = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    """(3,) L*, a*, b* of linear RGB, white D65."""
    share = TO_XYZ @ np.clip(rgb, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_white_and_red_are_where_the_standard_has_them() -> None:
    assert cielab(linear("#FFFFFF")) == pytest.approx([100, 0, 0], abs=0.05)
    assert cielab(linear("#FF0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.1)


@pytest.mark.parametrize("sight", SIGHTS)
def test_colours_of_families_differ_for_every_kind_of_sight(sight: str) -> None:
    seen = {family: cielab(SIGHTS[sight] @ linear(colour)) for family, colour in COLOURS.items()}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) >= 20, (one, other)


def test_colours_of_families_differ_in_grey() -> None:
    lightness = sorted(cielab(np.repeat(TO_XYZ[1] @ linear(colour), 3))[0] for colour in COLOURS.values())
    assert min(np.diff(lightness)) >= 5


def test_every_colour_stands_out_from_white() -> None:
    for colour in COLOURS.values():
        assert 1.05 / (TO_XYZ[1] @ linear(colour) + 0.05) > 2.3


def test_usual_defenses_always_have_the_same_marker() -> None:
    alone = {name: series_styles([name])[name].marker for name in MARKERS}
    together = series_styles(NAMES)
    assert {name: together[name].marker for name in MARKERS} == alone == MARKERS
    assert len(set(map(str, MARKERS.values()))) == len(MARKERS)


def test_as_many_as_there_are_markers_have_one_each() -> None:
    shown = series_styles(NAMES[: len(MARKERS) + 6])
    assert len({str(look.marker) for look in shown.values()}) == len(shown)


@given(st.permutations(NAMES), st.integers(1, len(NAMES)))
def test_styles_are_unique_in_any_order(names: list[str], many: int) -> None:
    shown = series_styles(names[:many])
    assert len({str(look) for look in shown.values()}) == many
    assert shown == series_styles(sorted(names[:many], reverse=True))


def test_lines_of_one_family_differ() -> None:
    shown = series_styles(["HM[R,M]", "HM[S,M]", "HM[S,R]", "HM[R,S]", "ACT[R]", "ACT[S]"])
    lines = [(look.colour, str(look.dash)) for look in shown.values()]
    assert len(set(lines)) == len(lines)


def test_a_family_is_the_same_by_both_names_of_a_defense() -> None:
    for info in DEFENSES:
        if not info.cls.fake and info.name != "hm":  # which is none of the family until it is set
            assert family_of(info.name) == family_of(paper_name(info.name, resolve_params(info, {}), "cub")), info.name


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("act-s", "act"),
        ("ACT[S]", "act"),
        ("SES[R]", "est"),
        ("hm-s-g2", "hm-gradual"),
        ("HM[S,g_B(M)]", "hm-gradual"),
        ("HM[R,M]&ICS(0.25)", "hm-ics"),
        ("hmm", "other"),
        ("actual", "other"),
        ("mine.py:act", "other"),
        ("ca-tride", "ca-tride"),
        ("madry (sampler=S)", "madry"),
    ],
)
def test_families_by_name(name: str, family: str) -> None:
    assert family_of(name) == family


def test_the_files_of_the_styles_can_lie_side_by_side() -> None:
    names = {f"{style.suffix}.{kind}" for style in STYLES.values() for kind in style.formats}
    assert len(names) == sum(len(style.formats) for style in STYLES.values())
