"""Attacks. One file per family, registered on import. See `robustbench_dml.Attack`."""
