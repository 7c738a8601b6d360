"""Defenses. One file (or folder) each; importing it registers it. See `robustbench_dml.training.defense.Defense`."""
