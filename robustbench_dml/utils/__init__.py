"""Helpers without any learning: files, locks, progress, randomness, statistics, tensors."""
