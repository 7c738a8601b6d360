"""Runs: records, run folders, training and evaluation end to end, sweeps."""
