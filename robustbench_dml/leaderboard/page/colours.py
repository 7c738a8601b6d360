"""Colours on a light and on a dark page, by the contrast of the Web Content Accessibility Guidelines."""

from __future__ import annotations

from robustbench_dml.report.figures.style import COLOURS

DARK = "#14181c"  # what plots stand on in the dark; `--raised` of page.css
LEAST = 4.0  # contrast of a symbol with it; 3 is asked for


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours written `#rrggbb`, 1..21."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def on_dark(colour: str) -> str:
    """The colour, or the first of its tints that stands out on a dark page; a grey is turned about."""
    channels = _channels(colour)
    if len(set(channels)) == 1:
        channels = [255 - value for value in channels]
    tints = (_written([round(value + (255 - value) * step / 20) for value in channels]) for step in range(21))
    return next(tint for tint in tints if contrast(tint, DARK) >= LEAST)


def family_colours() -> dict[str, list[str]]:
    """The two colours of every family of defenses: on a light page and on a dark one."""
    return {family: [colour, on_dark(colour)] for family, colour in COLOURS.items()}


def _channels(colour: str) -> list[int]:
    return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]


def _written(channels: list[int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in channels)


def _luminance(colour: str) -> float:
    shares = (value / 255 for value in _channels(colour))
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
