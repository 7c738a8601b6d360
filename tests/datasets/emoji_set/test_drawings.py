from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from robustbench_dml.datasets.emoji_set.drawings import Drawing, distinct, join, split
from robustbench_dml.datasets.emoji_set.packages import IconSet

BOX = {"left": 0, "top": 0, "width": 8, "height": 8}


def icon_set(
    name: str,
    icons: list[str],
    *,
    chars: Mapping[str, str] | None = None,
    aliases: Mapping[str, Mapping[str, Any]] | None = None,
) -> IconSet:
    bodies = {icon: {"body": f"{name} {icon}"} for icon in icons}
    return IconSet(name, bodies, aliases or {}, chars or {}, BOX)


def joined(*sets: IconSet) -> dict[str, dict[str, str]]:
    return {
        name: {set_name: drawing.body for set_name, drawing in drawings.items()}
        for name, drawings in join(sets).items()
    }


def test_code_points_join_whatever_the_sets_call_an_emoji() -> None:
    first = icon_set("first", ["sun", "moon"], chars={"2600": "sun", "1f319": "moon"})
    second = icon_set("second", ["sol", "moon"], chars={"2600-fe0f": "sol", "1f319": "moon"})
    third = icon_set("third", ["sun"], chars={"2600": "sun"})
    assert joined(first, second, third) == {
        "moon": {"first": "first moon", "second": "second moon"},
        "sun": {"first": "first sun", "second": "second sol", "third": "third sun"},
    }


def test_one_name_does_not_join_two_emoji() -> None:
    first = icon_set("first", ["moon", "face"], chars={"1f319": "moon", "1f31b": "face"})
    second = icon_set("second", ["moon", "face"], chars={"1f31b": "moon", "1f319": "face"})
    third = icon_set("third", ["moon", "face"], chars={"1f319": "moon", "1f31b": "face"})
    classes = joined(first, second, third)
    assert classes["moon"] == {"first": "first moon", "second": "second face", "third": "third moon"}
    assert classes["face"] == {"first": "first face", "second": "second moon", "third": "third face"}


def test_a_class_is_called_as_by_most_sets() -> None:
    names = ["sol", "sun", "sun", "helios"]
    sets = [icon_set(f"set{n}", [name], chars={"2600": name}) for n, name in enumerate(names)]
    assert list(join(sets)) == ["sun"]
    assert list(join([sets[0], sets[3]])) == ["helios"]


@pytest.mark.parametrize(
    "code",
    ["1f44d-1f3fb", "1f468-1f3ff-200d-1f33e", "1f3fd", "1f3c3-200d-27a1-fe0f", "e0c3"],
    ids=["skin", "skin inside", "swatch", "facing right", "private"],
)
def test_variants_are_no_classes(code: str) -> None:
    assert joined(icon_set("first", ["it", "sun"], chars={code: "it", "2600": "sun"})).keys() == {"sun"}


def test_an_icon_of_several_code_points_is_in_one_class() -> None:
    chars = {"1f3f3-200d-2b1c": "white-flag", "1f3f3": "white-flag", "27a1": "right-arrow"}
    classes = joined(icon_set("first", ["white-flag", "right-arrow"], chars=chars))
    assert {name: list(drawings) for name, drawings in classes.items()} == {
        "white-flag": ["first"],
        "right-arrow": ["first"],
    }


def test_icons_without_a_listed_code_point_are_left_out() -> None:
    chars = {"2600": "sun", "2601": "gone"}
    assert joined(icon_set("first", ["sun", "hidden"], chars=chars)) == {"sun": {"first": "first sun"}}


OLD = ["full-moon-face", "bear-face", "blacksunwithrays", "night", "skiing", "unknown", "thumbs-up-dark-skin-tone"]


def test_sets_without_code_points_join_by_icon_then_alias_then_unicode_name() -> None:
    chars = {
        "1f31d": "full-moon-face",
        "1f43b": "bear",
        "2600": "sun",
        "1f303": "night",
        "1f44d": "thumbs-up",
        "1f44d-1f3ff": "thumbs-up-dark-skin-tone",
    }
    aliases: dict[str, dict[str, Any]] = {
        "bear-face": {"parent": "bear"},
        "night": {"parent": "bear"},
        "skiing": {"parent": "bear", "hFlip": True},
    }
    new = icon_set("new", list(chars.values()), chars=chars, aliases=aliases)
    classes = joined(icon_set("old", OLD), new)
    assert {name: drawings["old"] for name, drawings in classes.items() if "old" in drawings} == {
        "full-moon-face": "old full-moon-face",
        "bear": "old bear-face",
        "sun": "old blacksunwithrays",
        "night": "old night",
    }


def test_a_name_of_two_emoji_joins_nothing() -> None:
    first = icon_set("first", ["a", "b"], chars={"2600": "a", "2601": "b"}, aliases={"it": {"parent": "a"}})
    second = icon_set("second", ["a", "b"], chars={"2600": "a", "2601": "b"}, aliases={"it": {"parent": "b"}})
    assert all("old" not in drawings for drawings in joined(first, second, icon_set("old", ["it"])).values())


def test_two_icons_for_one_class_are_both_left_out() -> None:
    new = icon_set("new", ["sun"], chars={"2600": "sun"}, aliases={"sol": {"parent": "sun"}})
    assert joined(new, icon_set("old", ["sun", "sol"])) == {"sun": {"new": "new sun"}}


def test_icons_that_show_something_else_are_corrected() -> None:
    chars = {"1f408": "cat", "1f431": "cat-face", "1f4dc": "scroll"}
    classes = joined(
        icon_set("openmoji", list(chars.values()), chars=chars),
        icon_set("noto", list(chars.values()), chars=chars),
        icon_set("fxemoji", ["cat", "catside", "tramcar"]),
    )
    assert classes["cat"]["fxemoji"] == "fxemoji catside"
    assert classes["cat-face"]["fxemoji"] == "fxemoji cat"
    assert classes["scroll"].keys() == {"noto"}


def test_the_order_of_sets_and_of_icons_does_not_matter() -> None:
    chars = {"2600": "sun", "1f319": "moon"}
    sets = [
        icon_set("a", ["sun", "moon"], chars=chars),
        icon_set("b", ["sol", "moon"], chars={"1f319": "moon", "2600": "sol"}, aliases={"old-sun": {"parent": "sol"}}),
        icon_set("c", ["moon", "old-sun"]),
    ]
    expected = joined(*sets)
    assert expected["sol"].keys() == {"a", "b", "c"}
    for order in itertools.permutations(sets):
        turned = [IconSet(s.name, dict(reversed(list(s.icons.items()))), s.aliases, s.chars, s.box) for s in order]
        assert joined(*turned) == expected


def test_an_icon_has_the_box_of_its_set_or_its_own() -> None:
    icons: dict[str, dict[str, Any]] = {"sun": {"body": "<g/>"}, "moon": {"body": "<g/>", "top": -1, "height": 4.5}}
    classes = join([IconSet("one", icons, {}, {"2600": "sun", "1f319": "moon"}, BOX)])
    assert classes["sun"]["one"] == Drawing("<g/>", "0 0 8 8")
    assert classes["moon"]["one"] == Drawing("<g/>", "0 -1 8 4.5")
    assert 'width="64" height="64" viewBox="0 -1 8 4.5"><g/></svg>' in classes["moon"]["one"].svg(64)


def pictures(**classes: str) -> dict[str, dict[str, bytes]]:
    return {name: {f"s{n}": bytes([ord(c)]) for n, c in enumerate(text) if c != " "} for name, text in classes.items()}


def test_classes_of_fewer_than_four_drawings_are_left_out() -> None:
    assert distinct(pictures(three="abc", four="defg", five="hi jkl")) == {
        "four": ["s0", "s1", "s2", "s3"],
        "five": ["s0", "s1", "s3", "s4", "s5"],
    }


def test_a_picture_counts_once_in_a_class() -> None:
    assert distinct(pictures(three="abcc", four="hijki")) == {"four": ["s0", "s1", "s2", "s3"]}


def test_of_two_classes_with_one_picture_the_larger_is_kept_then_the_first() -> None:
    assert distinct(pictures(small="abcd", large="efgdh")).keys() == {"large"}
    assert distinct(pictures(b="abcd", a="efgd")).keys() == {"a"}


def test_a_picture_of_another_set_is_the_same_picture() -> None:
    assert distinct(pictures(small="abcd", large="defgh")).keys() == {"large"}


def test_a_class_between_two_others_is_the_one_to_go() -> None:
    assert distinct(pictures(man="abcd", person="ae fg", woman="hi jg")).keys() == {"man", "woman"}


def test_a_class_that_is_too_small_takes_no_other_with_it() -> None:
    assert distinct(pictures(small="abc", four="ahij")).keys() == {"four"}


def test_the_halves_are_disjoint_and_do_not_depend_on_the_order() -> None:
    names = [f"class-{n}" for n in range(9)]
    train, test = split(names)
    assert (len(train), len(test)) == (4, 5)
    assert sorted(train + test) == names
    assert split(reversed(names)) == (train, test)


def test_the_halves_stay_as_they_are() -> None:
    assert split(["cat", "dog", "moon", "sun"]) == (["cat", "sun"], ["dog", "moon"])
