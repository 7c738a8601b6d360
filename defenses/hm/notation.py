"""The papers' notation of the family, for instance HM[S,g_LGA]&ICS(0.5)."""

from __future__ import annotations

import re

from robustbench_dml import MARGIN, ParamValue, register_notation
from robustbench_dml.defenses.hm.entries import ICS

FORM = re.compile(r"HM\[([A-Z]),(.+?)\](&ICS(?:\(([^()]*)\))?)?")
SPELLINGS = {
    "g_LGA": "lga",
    "g_B": "g_B(M)",
    "-gamma": f"{-MARGIN:g}",
    "-gamma/2": f"{-MARGIN / 2:g}",
}


@register_notation
def read_hm(text: str) -> tuple[str, dict[str, ParamValue]] | None:
    """Parse HM[source,destination], HM[...]&ICS and HM[...]&ICS(weight)."""
    match = FORM.fullmatch(text.replace(" ", ""))
    if match is None:
        return None
    sampler, destination, structure, weight = match.groups()
    params: dict[str, ParamValue] = {
        "sampler": sampler,
        "destination": SPELLINGS.get(destination.replace("\u03b3", "gamma"), destination),
    }
    if structure:
        params["ics"] = weight if weight is not None else ICS
    return "hm", params
