"""Defenses. One file or folder each, registered on import. See `robustbench_dml.Defense`."""
