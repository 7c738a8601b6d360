from __future__ import annotations

import re
from importlib.resources import files

import pytest

from robustbench_dml.leaderboard.page.appearance import SYMBOLS, drawn, family_colours
from robustbench_dml.report.figures.style import COLOURS, DASHES, MARKERS, SPARE, SeriesStyle

ALL = [*MARKERS.values(), *SPARE]


@pytest.mark.parametrize("marker", ALL)
def test_every_marker_of_the_figures_has_a_symbol_that_the_page_can_draw(marker: object) -> None:
    text = (files("robustbench_dml.leaderboard.page") / "looks.js").read_text(encoding="utf-8")
    shapes = text.partition("const SHAPES = {")[2].partition("};")[0]
    symbol = drawn(SeriesStyle("#000000", marker, "-"))["symbol"]
    assert symbol in re.findall(r"'?([\w-]+)'?: (?:'M|corners)", shapes)


def test_no_two_markers_have_the_same_symbol() -> None:
    assert len({SYMBOLS[marker] for marker in ALL}) == len(set(ALL))


def test_dashes_are_lengths_in_pixels() -> None:
    found = [drawn(SeriesStyle("#000000", "o", dash))["dash"] for dash in DASHES]
    assert found[0] == "solid"
    assert all(re.fullmatch(r"[\d.]+px(,[\d.]+px)+", dash) for dash in found[1:])
    assert len(set(found)) == len(DASHES)


STYLE = (files("robustbench_dml.leaderboard.page") / "page.css").read_text(encoding="utf-8")
TEXT, GRAPHICS = 4.5, 3.0  # what AA asks for
BADGES = [("good", "good-back"), ("plain", "plain-back"), ("bad", "bad-back"), ("doubt", "doubt-back")]
WRITTEN = [(text, ground) for text in ("ink", "muted", "accent") for ground in ("paper", "raised", "sunken")]
DRAWN = [("control", "raised"), ("control", "paper"), ("control", "sunken"), ("accent", "raised"), ("accent", "paper")]


def themes() -> dict[str, dict[str, str]]:
    """The colours that the style declares, on a light and on a dark page."""
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    found = {
        name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for name, block in (("light", light), ("dark", dark))
    }
    assert found["light"].keys() == found["dark"].keys()
    return found


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours written `#rrggbb`, 1..21, by the Web Content Accessibility Guidelines."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    shares = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("#000000", "#ffffff", 21.0), ("#777777", "#ffffff", 4.48), ("#0000ff", "#ff0000", 2.15)],
)
def test_contrast_is_that_of_the_guidelines(one: str, other: str, expected: float) -> None:
    """Against values of their own calculators; the order does not count."""
    assert contrast(one, other) == pytest.approx(expected, abs=0.005)
    assert contrast(one, other) == contrast(other, one)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), [*BADGES, *WRITTEN, ("on-accent", "accent")])
def test_text_stands_out(theme: str, text: str, ground: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[text], colours[ground]) >= TEXT


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("line", "ground"), DRAWN)
def test_borders_of_controls_and_symbols_stand_out(theme: str, line: str, ground: str) -> None:
    colours = themes()[theme]
    assert contrast(colours[line], colours[ground]) >= GRAPHICS


def test_every_colour_of_text_in_the_style_is_a_tested_one() -> None:
    used = set(re.findall(r"[^-]color: var\(--([\w-]+)\)", STYLE))
    tested = {name for pair in [*BADGES, *WRITTEN, *DRAWN, ("on-accent", "accent")] for name in pair}
    assert used <= tested


def test_families_stand_out_in_the_dark() -> None:
    raised = themes()["dark"]["raised"]
    dark = {family: colours[1] for family, colours in family_colours().items()}
    assert all(contrast(colour, raised) >= GRAPHICS for colour in dark.values())
    assert len(set(dark.values())) == len(COLOURS)


def test_a_colour_that_stands_out_stays_and_grey_is_turned_about() -> None:
    colours = family_colours()
    assert colours["act"] == ["#F0901E", "#f0901e"]
    assert colours["regular"] == ["#000000", "#ffffff"]
    assert [light for light, _ in colours.values()] == list(COLOURS.values())
