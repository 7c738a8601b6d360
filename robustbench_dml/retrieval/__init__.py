"""Exact nearest-neighbour search: distances, ranks, metrics."""
