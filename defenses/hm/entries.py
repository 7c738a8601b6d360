"""The HM family: all members in the tables of Zhou and Patel, CVPR 2022, arXiv:2203.01439."""

from __future__ import annotations

from robustbench_dml import MARGIN, MINERS, ParamValue, register_defense
from robustbench_dml.defenses.hm.manipulation import HardnessManipulation

PAPER = "Zhou and Patel, CVPR 2022, arXiv:2203.01439"
ICS = 0.5  # the published weight, 0.05 on SOP


def register(name: str, summary: str, **params: ParamValue) -> None:
    """Register a member of the family."""
    register_defense(name, summary=summary, paper=PAPER, **params)(HardnessManipulation)


register("hm", "any HM[H_S,H_D]: set sampler, destination, ics")

for source in MINERS:
    for target in MINERS:
        register(
            f"hm-{source.letter}-{target.letter}".lower(),
            f"HM[{source.letter},{target.letter}]: {source.name} triplets"
            + ("" if source == target else f" made as hard as {target.name} ones")
            + (", left as they are" if source == target else ""),
            sampler=source.letter,
            destination=target.letter,
        )

for letter in ("R", "S"):
    register(f"hm-{letter}-lga".lower(), f"HM[{letter},g_LGA]: linear gradual adversary", sampler=letter)
register("hm-s-g2", "HM[S,g_2]: gradual adversary, squared", destination="g_2")
register("hm-s-ghalf", "HM[S,g_1/2]: gradual adversary, square root", destination="g_1/2")
register("hm-s-gb", "HM[S,g_B(M)]: as hard as semihard triplets, and harder as the loss falls", destination="g_B(M)")
register("hm-s-zero", "HM[S,0]: constant hardness 0; known to collapse", destination="0")
register("hm-s-half-margin", "HM[S,-gamma/2]: constant hardness", destination=f"{-MARGIN / 2:g}")
register("hm-s-margin", "HM[S,-gamma]: constant hardness", destination=f"{-MARGIN:g}")

register("hm-r-m-ics", "HM[R,M]&ICS", sampler="R", destination="M", ics=ICS)
register("hm-s-m-ics", "HM[S,M]&ICS", destination="M", ics=ICS)
register("hm-r-lga-ics", "HM[R,g_LGA]&ICS", sampler="R", ics=ICS)
register("hm-lga-ics", "HM[S,g_LGA]&ICS: linear gradual adversary and intra-class structure", ics=ICS)
