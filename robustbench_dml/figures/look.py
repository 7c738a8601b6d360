"""Which colour and symbol stands for which defense, in every figure and on the page."""

from __future__ import annotations

# Okabe and Ito's colours, told apart by the colour-blind, without the yellow; grey; Tol's wine.
COLOURS = {
    "regular": "#000000",
    "est": "#8C8C8C",
    "act": "#E69F00",
    "hm": "#0072B2",
    "hm-gradual": "#009E73",
    "hm-ics": "#D55E00",
    "madry": "#CC79A7",
    "ca-tride": "#56B4E9",
    "other": "#882255",
}


def family_of(defense: str) -> str:
    """The family of a defense, by its registered name (`hm-s-lga`) or as papers write it (`HM[S,g_LGA]`)."""
    name = defense.lower()
    if name.startswith("hm"):
        gradual = "lga" in name or "g_" in name
        return "hm-ics" if "ics" in name else "hm-gradual" if gradual else "hm"
    stem = name.split("[")[0].split(" ")[0]
    return {"ses": "est"}.get(stem, stem if stem in COLOURS else "other")
