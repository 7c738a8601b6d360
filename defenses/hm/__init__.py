"""Hardness Manipulation: a source miner, a destination and an optional structure term."""

from robustbench_dml.defenses.hm import entries, free, notation
from robustbench_dml.defenses.hm.manipulation import HardnessManipulation

__all__ = ["HardnessManipulation", "entries", "free", "notation"]
