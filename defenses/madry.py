"""Direct min-max adversarial training: the hardest triplets that the radius allows. It is known to collapse.

Madry et al., ICLR 2018, arXiv:1706.06083; as HM[., 2] in Zhou and Patel, CVPR 2022, arXiv:2203.01439.
"""

from __future__ import annotations

from robustbench_dml import register_defense
from robustbench_dml.defenses.hm import HardnessManipulation

register_defense(
    "madry",
    summary="HM[R,2]: maximise the hardness of every triplet; known to collapse",
    paper="Madry et al., ICLR 2018, arXiv:1706.06083; adapted in arXiv:2203.01439",
    sampler="R",
    destination="2",
)(HardnessManipulation)
