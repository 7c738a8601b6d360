"""Attacks. One file per family; importing it registers it. See `robustbench_dml.evaluation.attack.Attack`."""
