"""Leaderboards. One folder per data set, `records/` inside it."""
