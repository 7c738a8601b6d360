"""Sweeps: many runs, worked out from a matrix and done by an engine; the records say what is done."""
