"""Sweeps: many runs, planned from a matrix and done by an engine; a run with a record is done."""
