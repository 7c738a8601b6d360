"""Which drawings of the sets show the same emoji, and which emoji are in which half."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from robustbench_dml.datasets.emoji_set.packages import IconSet

MIN_DRAWINGS = 4
VARIATION_SELECTOR = 0xFE0F
SKIN_TONES = range(0x1F3FB, 0x1F400)
PRIVATE_USE = range(0xE000, 0xF900)
JOINER, RIGHT_ARROW = 0x200D, 0x27A1

# What an icon shows where that is not what it is called; None where it is of no use. Found by looking at all joined
# drawings side by side.
CORRECTIONS: Mapping[str, Mapping[str, str | None]] = {
    "openmoji": {"scroll": None},  # the wheel of a mouse
    "fxemoji": {
        "bunny": "rabbit-face",
        "bunnyside": "rabbit",
        "cat": "cat-face",
        "catside": "cat",
        "construction": "building-construction",
        "dog": "dog-face",
        "dogside": "dog",
        "dragonhead": "dragon-face",
        "dragonside": "dragon",
        "keyboard": None,  # a piano's
        "kiss": None,  # one face, not a couple
        "leopardside": "leopard",
        "mouse": "mouse-face",
        "mouseside": "mouse",
        "pig": "pig-face",
        "pigside": "pig",
        "star": "glowing-star",
        "sunglasses": "smiling-face-with-sunglasses",
        "tiger": "tiger-face",
        "tigerside": "tiger",
        "tramcar": None,  # all black: its style sheet is lost
        "umbrella": "closed-umbrella",
        "whitemediumstar": None,  # grey, the others are yellow
        "window": None,  # of a program
        "wiredkeyboard": "keyboard",
    },
}

Code = tuple[int, ...]


@dataclass(frozen=True)
class Drawing:
    """One icon: the inside of an SVG and its view box."""

    body: str
    view_box: str

    def svg(self, side: int) -> str:
        """An SVG of this side; an icon that is not square is centred in it."""
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        return f'<svg {spaces} width="{side}" height="{side}" viewBox="{self.view_box}">{self.body}</svg>'


def join(sets: Sequence[IconSet]) -> dict[str, dict[str, Drawing]]:
    """Class to set to drawing; a class is one emoji, whatever the sets call it.

    An emoji is what its code points say where a package lists them. The icons of the other packages are placed by
    the names that the first ones have for an emoji, by their aliases, or by its Unicode name, in this order.
    """
    listed = {icons.name: _codes(icons) for icons in sets if icons.chars}
    names = _names(sets, listed)
    drawings: dict[Code, dict[str, Drawing]] = defaultdict(dict)
    for icons in sets:
        placed = listed[icons.name] if icons.chars else _place(icons, names)
        for icon, code in placed.items():
            drawings[code][icons.name] = _drawing(icons, icon)
    classes = {_class_name(code, listed.values()): drawings[code] for code in sorted(drawings)}
    assert len(classes) == len(drawings), "a name of two emoji"
    return classes


def _codes(icons: IconSet) -> dict[str, Code]:
    """Icon name to code points, without the emoji that are no classes of their own."""
    codes: dict[str, Code] = {}
    useless = CORRECTIONS.get(icons.name, {})
    for listed, icon in icons.chars.items():
        code = tuple(point for part in listed.split("-") if (point := int(part, 16)) != VARIATION_SELECTOR)
        if icon in icons.icons and icon not in useless and _is_class(code):
            codes[icon] = min(code, codes.get(icon, code), key=lambda code: (len(code), code))
    return codes


def _is_class(code: Code) -> bool:
    """Skin tones are variants, people facing right are mirror images, and private code points are a set's own."""
    facing_right = JOINER in code and RIGHT_ARROW in code
    return not facing_right and not any(point in SKIN_TONES or point in PRIVATE_USE for point in code)


def _names(sets: Sequence[IconSet], listed: Mapping[str, Mapping[str, Code]]) -> list[dict[str, set[Code]]]:
    """Which emoji each name may stand for: as an icon's name, as an alias, as a Unicode name."""
    by_icon: dict[str, set[Code]] = defaultdict(set)
    by_alias: dict[str, set[Code]] = defaultdict(set)
    by_unicode: dict[str, set[Code]] = defaultdict(set)
    for codes in listed.values():
        for icon, code in codes.items():
            by_icon[_squeeze(icon)].add(code)
            if len(code) == 1:
                by_unicode[_squeeze(unicodedata.name(chr(code[0]), ""))].add(code)
    for icons in sets:
        for alias, target in icons.aliases.items():
            parent = listed.get(icons.name, {}).get(target["parent"])
            if parent is not None and len(target) == 1:  # more than the parent: the drawing turned or mirrored
                by_alias[_squeeze(alias)].add(parent)
    return [by_icon, by_alias, by_unicode]


def _squeeze(name: str) -> str:
    return name.replace("-", "").replace(" ", "").lower()


def _place(icons: IconSet, names: Sequence[Mapping[str, set[Code]]]) -> dict[str, Code]:
    """Icon name to code points by names alone, where one emoji is meant and one icon means it."""
    corrections = CORRECTIONS.get(icons.name, {})
    claims: dict[Code, list[str]] = defaultdict(list)
    for icon in icons.icons:
        name = corrections.get(icon, icon)
        codes = next((known for meanings in names if (known := meanings.get(_squeeze(name)))), ()) if name else ()
        if len(codes) == 1:
            claims[next(iter(codes))].append(icon)
    return {icons[0]: code for code, icons in claims.items() if len(icons) == 1}


def _drawing(icons: IconSet, name: str) -> Drawing:
    icon = icons.icons[name]
    return Drawing(icon["body"], " ".join(f"{icon.get(side, icons.box[side]):g}" for side in icons.box))


def _class_name(code: Code, listed: Iterable[Mapping[str, Code]]) -> str:
    """What most sets call it, the first in the alphabet where as many call it otherwise."""
    names = Counter(icon for codes in listed for icon, other in codes.items() if other == code)
    return min(names, key=lambda name: (-names[name], name))


def distinct(pictures: Mapping[str, Mapping[str, bytes]]) -> dict[str, list[str]]:
    """Class to the sets whose drawings of it are used, without the classes that are then too small.

    Args:
        pictures: class to set to the pixels of the drawing.

    A picture that two sets have for the same class counts once. A picture that two classes have would have two right
    answers: of such classes those are kept that are in the way of the fewest others.
    """
    used = {}
    for name, drawings in pictures.items():
        first: dict[bytes, str] = {}
        for set_name in sorted(drawings):
            first.setdefault(drawings[set_name], set_name)
        if len(first) >= MIN_DRAWINGS:
            used[name] = sorted(first.values())
    rivals = _rivals({name: [pictures[name][set_name] for set_name in used[name]] for name in used})
    kept: set[str] = set()
    for name in sorted(used, key=lambda name: (len(rivals[name]), -len(used[name]), name)):
        if not rivals[name] & kept:
            kept.add(name)
    return {name: used[name] for name in sorted(kept)}


def _rivals(pictures: Mapping[str, Sequence[bytes]]) -> dict[str, set[str]]:
    """Class to the other classes that have one of its pictures, in whatever set."""
    owners: dict[bytes, set[str]] = defaultdict(set)
    for name, of_class in pictures.items():
        for picture in of_class:
            owners[picture].add(name)
    return {name: set().union(*(owners[picture] for picture in pictures[name])) - {name} for name in pictures}


def split(classes: Iterable[str]) -> tuple[list[str], list[str]]:
    """The classes to train on and those to test on, each in alphabetical order: halves by the SHA-256 of the names."""
    shuffled = sorted(classes, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    half = len(shuffled) // 2
    return sorted(shuffled[:half]), sorted(shuffled[half:])
