"""Names of defenses: as registered, and as the papers write them."""

from __future__ import annotations

from collections.abc import Mapping

from robustbench_dml.spec.parameters import published_params, usual_params
from robustbench_dml.spec.registry import DEFENSES
from robustbench_dml.spec.schema import ExternalSpec, RunSpec, Value
from robustbench_dml.training.losses import MARGIN

ICS = 0.5  # weight of ICS, unless another is published for the data set
BRACKETED = {"regular": "regular", "est": "EST", "ses": "SES", "act": "ACT", "act-s": "ACT"}  # followed by the miner
WRITTEN = {"ca-tride": "CA-TRIDE"}
DESTINATIONS = {"lga": "g_LGA", f"{-MARGIN:g}": "-\u03b3", f"{-MARGIN / 2:g}": "-\u03b3/2"}
LONGEST = 28  # characters of a name in a figure
SUBSCRIPTS = {"g_LGA": r"$g_{\mathrm{LGA}}$", "g_B": r"$g_{\mathrm{B}}$", "g_1/2": "$g_{1/2}$", "g_2": "$g_2$"}


def registered_name(spec: RunSpec | ExternalSpec) -> str:
    """Return the registered name of a defense with the parameters that differ from the registered values."""
    usual = usual_params(DEFENSES.get(spec.label), spec.dataset) if spec.label in DEFENSES else spec.params
    changed = ", ".join(f"{name}={value}" for name, value in sorted(spec.params.items()) if usual.get(name) != value)
    return f"{spec.label} ({changed})" if changed else spec.label


def paper_name(label: str, params: Mapping[str, Value], dataset: str) -> str:
    """Return a defense as papers write it, HM[S,g_LGA]&ICS, with the unusual parameters that this leaves out.

    Args:
        label: registered name.
        params: all parameters.
        dataset: training data set.
    """
    if label not in DEFENSES:
        return label
    usual = usual_params(DEFENSES.get(label), dataset)
    name, included = _name(label, {**usual, **params}, dataset)  # records of older versions may lack a parameter
    changed = [
        f"{key}={value}" for key, value in sorted(params.items()) if key not in included and usual.get(key) != value
    ]
    return f"{name} ({', '.join(changed)})" if changed else name


def printable(text: str) -> str:
    """Replace line breaks and characters that cannot be printed."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def shortened(name: str) -> str:
    """Cut the middle out of a name that is too long for a figure."""
    end = LONGEST // 3
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1 - end]}\u2026{name[-end:]}"


def typeset(name: str) -> str:
    """Add subscripts in matplotlib's notation; a name that contains a dollar sign stays as it is."""
    if "$" in name:
        return name.replace("$", r"\$")
    for plain, subscript in SUBSCRIPTS.items():
        name = name.replace(plain, subscript)
    return name


def _name(label: str, params: Mapping[str, Value], dataset: str) -> tuple[str, tuple[str, ...]]:
    """The name, and the parameters it includes."""
    if label in BRACKETED:
        return f"{BRACKETED[label]}[{params['sampler']}]", ("sampler",)
    if label.split("-", maxsplit=1)[0] == "hm" and "ics" in params and label != "hm-free":
        destination, weight = str(params["destination"]), params["ics"]
        number = f"{weight:g}" if isinstance(weight, int | float) else weight
        published = published_params(DEFENSES.get(label), dataset, {"ics": ICS}).get("ics", ICS)
        structure = "" if not weight else "&ICS" if weight == published else f"&ICS({number})"
        name = f"HM[{params['sampler']},{DESTINATIONS.get(destination, destination)}]{structure}"
        return name, ("sampler", "destination", "ics")
    return WRITTEN.get(label, label), ()
