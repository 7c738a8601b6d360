from __future__ import annotations

import pytest

from robustbench_dml.defenses.hm.notation import read_hm
from robustbench_dml.report.names import LONGEST, paper_name, printable, shortened, typeset
from robustbench_dml.spec.parameters import resolve_params
from robustbench_dml.spec.registry import DEFENSES

HM = [info.name for info in DEFENSES if info.name.startswith("hm") and info.name != "hm-free"]


@pytest.mark.parametrize("name", HM)
def test_the_command_line_reads_the_written_name(name: str) -> None:
    params = resolve_params(DEFENSES.get(name), {})
    read = read_hm(paper_name(name, params, "cub"))
    assert read is not None
    assert resolve_params(DEFENSES.get(read[0]), read[1]) == params


@pytest.mark.parametrize(
    ("label", "changes", "name"),
    [
        ("hm-lga-ics", {}, "HM[S,g_LGA]&ICS"),
        ("hm-s-margin", {}, "HM[S,-\u03b3]"),
        ("hm-lga-ics", {"ics": 0.25}, "HM[S,g_LGA]&ICS(0.25)"),
        ("hm-s-lga", {"u": 2.2, "sampler": "R"}, "HM[R,g_LGA] (u=2.2)"),
        ("act", {"sampler": "S"}, "ACT[S]"),
        ("act-s", {}, "ACT[S]"),
        ("regular", {}, "regular[R]"),
        ("ca-tride", {"lbd": 2.0}, "CA-TRIDE (lbd=2.0)"),
        ("madry", {"sampler": "S"}, "madry (sampler=S)"),
    ],
)
def test_names_as_papers_write_them(label: str, changes: dict[str, object], name: str) -> None:
    assert paper_name(label, resolve_params(DEFENSES.get(label), changes), "cub") == name


@pytest.mark.parametrize(
    ("label", "params", "name"),
    [
        ("hm-lga-ics", {"ics": 0.05}, "HM[S,g_LGA]&ICS"),  # the weight that was published for this data set
        ("hm-lga-ics", {"ics": 0.5}, "HM[S,g_LGA]&ICS(0.5)"),
        ("hm", {"destination": "-0.1", "ics": 0.05}, "HM[S,-\u03b3/2]&ICS"),
        ("hm-s-lga", {}, "HM[S,g_LGA]"),
        ("ca-tride", {"lbd": 2.0}, "CA-TRIDE"),
        ("ca-tride", {"lbd": 10.0}, "CA-TRIDE (lbd=10.0)"),
    ],
)
def test_usual_parameters_depend_on_the_data_set(label: str, params: dict[str, object], name: str) -> None:
    assert paper_name(label, resolve_params(DEFENSES.get(label), params), "sop") == name


def test_a_data_set_that_is_not_registered_has_nothing_of_its_own() -> None:
    assert paper_name("hm-lga-ics", {"ics": 0.5}, "gone") == "HM[S,g_LGA]&ICS"


def test_a_defense_that_is_no_longer_registered_keeps_its_name() -> None:
    assert paper_name("gone", {"sampler": "R"}, "cub") == "gone"


def test_subscripts_and_names_with_dollars() -> None:
    assert typeset("HM[S,g_LGA]&ICS") == r"HM[S,$g_{\mathrm{LGA}}$]&ICS"
    assert typeset("HM[S,g_B(M)]") == r"HM[S,$g_{\mathrm{B}}$(M)]"
    assert typeset("my$\\frac$") == r"my\$\frac\$"


def test_no_name_breaks_a_line_or_the_room() -> None:
    assert printable("a\nb\x00c\u2028d e") == "a\ufffdb\ufffdc\ufffdd e"
    assert shortened("x" * LONGEST) == "x" * LONGEST
    long = "beginning" + "x" * 1000 + "end"
    assert len(shortened(long)) == LONGEST
    assert shortened(long).startswith("beginning")
    assert shortened(long).endswith("end")


def test_a_record_without_a_parameter_has_the_usual_one() -> None:
    assert paper_name("act", {}, "cub") == paper_name("act", {"sampler": "R"}, "cub") == "ACT[R]"
    assert paper_name("hm-lga-ics", {"ics": 0.5}, "cub") == "HM[S,g_LGA]&ICS"


def test_a_weight_that_is_no_number_is_shown_as_it_is() -> None:
    assert paper_name("hm-lga-ics", {"ics": "much"}, "cub") == "HM[S,g_LGA]&ICS(much)"
