from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_dml.spec.lookup import find_defense
from robustbench_dml.spec.make import make_spec
from robustbench_dml.utils.errors import RbdmlError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hm-s-m", "hm-s-m"),
        ("HM[S,M]", "hm-s-m"),
        ("HM[S, M] & ICS", "hm-s-m-ics"),
        ("HM[S,g_LGA]", "hm-s-lga"),
        ("HM[S,g_LGA]&ICS", "hm-lga-ics"),
        ("HM[S,g_LGA]&ICS(0.5)", "hm-lga-ics"),
        ("HM[R,g_LGA]&ICS(0.5)", "hm-r-lga-ics"),
        ("HM[S,g_2]", "hm-s-g2"),
        ("HM[S,g_1/2]", "hm-s-ghalf"),
        ("HM[S,g_B(M)]", "hm-s-gb"),
        ("HM[S,g_B]", "hm-s-gb"),
        ("HM[S,0]", "hm-s-zero"),
        ("HM[S,-gamma]", "hm-s-margin"),
        ("HM[S,-\u03b3/2]", "hm-s-half-margin"),
        ("HM[S,-0.1]", "hm-s-half-margin"),
        ("HM[R,2]", "madry"),
        ("ACT[R]", "act"),
        ("ACT[S]", "act-s"),
        ("EST[R]", "est"),
        ("regular[R]", "regular"),
    ],
)
def test_the_papers_names_are_the_registered_entries(text: str, name: str) -> None:
    assert make_spec(defense=text, dataset="glyphs-mini") == make_spec(defense=name, dataset="glyphs-mini")


@pytest.mark.parametrize(
    ("defense", "params", "name"),
    [
        ("act", {"sampler": "softhard"}, "act-s"),
        ("hm", {}, "hm-s-lga"),
        ("hm-s-lga", {"ics": 0.5}, "hm-lga-ics"),
        ("hm-lga-ics", {"ics": 0.3}, "hm-lga-ics"),
        ("HM[S,M]", {"sampler": "R"}, "hm-r-m"),
    ],
)
def test_a_configuration_has_one_name(defense: str, params: dict[str, object], name: str) -> None:
    assert make_spec(defense=defense, dataset="glyphs-mini", params=params).defense == name


@pytest.mark.parametrize(
    ("dataset", "defense", "params", "expected"),
    [
        ("cub", "hm-lga-ics", {}, ("hm-lga-ics", {"ics": 0.5})),
        ("sop", "hm-lga-ics", {}, ("hm-lga-ics", {"ics": 0.05})),
        ("sop", "HM[S,g_LGA]&ICS", {}, ("hm-lga-ics", {"ics": 0.05})),
        ("sop", "HM[S,g_LGA]&ICS(0.05)", {}, ("hm-lga-ics", {"ics": 0.05})),
        ("sop", "HM[S,-0.05]&ICS", {}, ("hm", {"ics": 0.05})),
        ("sop", "hm-lga-ics", {"ics": 0.5}, ("hm-lga-ics", {"ics": 0.5})),  # what is asked for is done
        ("sop", "HM[S,g_LGA]&ICS(0.5)", {}, ("hm", {"ics": 0.5})),
        ("sop", "hm-s-lga", {}, ("hm-s-lga", {"ics": 0.0})),  # no structure stays none
        ("sop", "HM[R,2]", {}, ("madry", {"ics": 0.0})),
        ("cub", "ca-tride", {}, ("ca-tride", {"lbd": 10.0})),
        ("cars", "ca-tride", {}, ("ca-tride", {"lbd": 9.5})),
        ("sop", "ca-tride", {}, ("ca-tride", {"lbd": 2.0})),
        ("sop", "ca-tride", {"lbd": "3"}, ("ca-tride", {"lbd": 3.0})),
        ("cars", "hm-lga-ics", {}, ("hm-lga-ics", {"ics": 0.5})),
    ],
)
def test_parameters_default_to_the_values_published_for_the_data_set(
    dataset: str, defense: str, params: dict[str, object], expected: tuple[str, dict[str, object]]
) -> None:
    spec = make_spec(defense=defense, dataset=dataset, params=params)
    assert (spec.defense, {name: spec.params[name] for name in expected[1]}) == expected


def test_other_members_of_the_family_have_their_parameters() -> None:
    spec = make_spec(defense="HM[D,-0.05]&ICS(0.25)", dataset="glyphs-mini")
    assert spec.defense == "hm"
    assert {"sampler": "D", "destination": "-0.05", "ics": 0.25}.items() <= spec.params.items()
    assert make_spec(defense="EST[S]", dataset="glyphs-mini").params == {"sampler": "S"}


@pytest.mark.parametrize("text", ["HM[]", "HM[S,M", "HM[S,M]&", "HM[S,M]&ICS()x", "[S]", "HM[S,]"])
def test_unreadable_names_are_refused(text: str) -> None:
    with pytest.raises(RbdmlError, match=r"cannot read defense|unknown"):
        make_spec(defense=text, dataset="glyphs-mini")


@pytest.mark.parametrize("text", ["HM[T,M]", "HM[S,M]&ICS(x)", "HM[S,M]&ICS(nan)", "HM[S,3]", "HM[S,g_B(T)]"])
def test_bad_values_in_brackets_are_named(text: str) -> None:
    with pytest.raises(RbdmlError, match=r"unknown|cannot be|out of range"):
        make_spec(defense=text, dataset="glyphs-mini")


def test_a_defense_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from robustbench_dml.defenses.regular import Regular\n"
        "from robustbench_dml.spec.registry import register_defense\n"
        "register_defense('in-a-file', summary='s', paper='arXiv', sampler='D')(Regular)\n"
    )
    for _ in range(2):  # the second time it is there already
        info, params = find_defense(f"{path}:in-a-file")
        assert (info.name, params) == ("in-a-file", {})
    with pytest.raises(RbdmlError, match="did you mean 'in-a-file'"):
        find_defense(f"{path}:in-a-fil")


def test_a_failing_file_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\nraise ValueError('no')\n")
    with pytest.raises(RbdmlError, match=r"broken.py: cannot be loaded: ValueError at line 2: no"):
        find_defense(f"{path}:any")
    path.write_text("def f(:\n")
    with pytest.raises(RbdmlError, match=r"cannot be loaded: SyntaxError at line 1"):
        find_defense(f"{path}:any")
    path.write_text("\n\nimport sys\nsys.exit(3)\n")
    with pytest.raises(RbdmlError, match=r"cannot be loaded: SystemExit at line 4"):
        find_defense(f"{path}:any")
    with pytest.raises(RbdmlError, match="names a file but no defense in it"):
        find_defense(str(path))
    with pytest.raises(RbdmlError, match="no such Python file"):
        find_defense(f"{tmp_path / 'absent.py'}:any")


def test_impossible_file_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("b.py")
    (tmp_path / "b.py").symlink_to("a.py")
    for name in (f"{tmp_path}/a.py", "a\0b.py", f"{'a' * 300}.py", "/" * 5000 + "a.py"):
        with pytest.raises(RbdmlError, match="no such Python file"):
            find_defense(f"{name}:x")
