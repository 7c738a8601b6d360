from __future__ import annotations

import re
from importlib.resources import files

import pytest

from robustbench_dml.leaderboard.page.colours import DARK, contrast, family_colours, on_dark
from robustbench_dml.report.figures.style import COLOURS

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
    assert themes()["dark"]["raised"] == DARK
    dark = {family: colours[1] for family, colours in family_colours().items()}
    assert all(contrast(colour, DARK) >= GRAPHICS for colour in dark.values())
    assert len(set(dark.values())) == len(COLOURS)


def test_a_colour_that_stands_out_stays_and_grey_is_turned_about() -> None:
    assert on_dark("#F0901E").lower() == "#f0901e"
    assert on_dark("#000000") == "#ffffff"
    assert [colours[0] for colours in family_colours().values()] == list(COLOURS.values())
