"""Exact retrieval: distances, ranks, nearest rows, metrics."""
