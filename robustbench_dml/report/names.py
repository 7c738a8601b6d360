"""What defenses are called in figures: as papers write them, where there is a known form."""

from __future__ import annotations

from collections.abc import Mapping

from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.resolve import published_params, usual_params
from robustbench_dml.spec.schema import Value
from robustbench_dml.training.losses import MARGIN

ICS = 0.5  # the published weight, where no other is for the data set
BRACKETED = {"regular": "regular", "est": "EST", "ses": "SES", "act": "ACT", "act-s": "ACT"}  # with their sampler
WRITTEN = {"ca-tride": "CA-TRIDE"}
DESTINATIONS = {"lga": "g_LGA", f"{-MARGIN:g}": "-\u03b3", f"{-MARGIN / 2:g}": "-\u03b3/2"}
LONGEST = 28  # characters of a name
SUBSCRIPTS = {"g_LGA": r"$g_{\mathrm{LGA}}$", "g_B": r"$g_{\mathrm{B}}$", "g_1/2": "$g_{1/2}$", "g_2": "$g_2$"}


def paper_name(label: str, params: Mapping[str, Value], dataset: str) -> str:
    """A defense as papers write it, HM[S,g_LGA]&ICS, with those parameters that are neither usual nor written so.

    Args:
        label: its registered name.
        params: all its parameters.
        dataset: what it was trained on.
    """
    if label not in DEFENSES:
        return label
    usual = usual_params(DEFENSES.get(label), dataset)
    name, told = _name(label, {**usual, **params}, dataset)  # a record of an earlier version may lack one
    changed = [f"{key}={value}" for key, value in sorted(params.items()) if key not in told and usual.get(key) != value]
    return f"{name} ({', '.join(changed)})" if changed else name


def printable(text: str) -> str:
    """A text with what cannot be printed, or breaks a line, replaced."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def shortened(name: str) -> str:
    """A name that a figure has room for: the middle of a long one is left out."""
    end = LONGEST // 3
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1 - end]}\u2026{name[-end:]}"


def typeset(name: str) -> str:
    """The same with subscripts, as matplotlib takes them; a name of its own with a dollar sign stays as it is."""
    if "$" in name:
        return name.replace("$", r"\$")
    for plain, subscript in SUBSCRIPTS.items():
        name = name.replace(plain, subscript)
    return name


def _name(label: str, params: Mapping[str, Value], dataset: str) -> tuple[str, tuple[str, ...]]:
    """The name, and the parameters that it tells."""
    if label in BRACKETED:
        return f"{BRACKETED[label]}[{params['sampler']}]", ("sampler",)
    if label.split("-", maxsplit=1)[0] == "hm" and "ics" in params and label != "hm-free":
        destination = str(params["destination"])
        weight = params["ics"]
        number = f"{weight:g}" if isinstance(weight, int | float) else weight
        published = published_params(DEFENSES.get(label), dataset, {"ics": ICS}).get("ics", ICS)
        structure = "" if not weight else "&ICS" if weight == published else f"&ICS({number})"
        return (
            f"HM[{params['sampler']},{DESTINATIONS.get(destination, destination)}]{structure}",
            ("sampler", "destination", "ics"),
        )
    return WRITTEN.get(label, label), ()
