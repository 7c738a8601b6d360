"""Data sets. One file per family; each registers itself. See `robustbench_dml.datasets.base.Dataset`."""
