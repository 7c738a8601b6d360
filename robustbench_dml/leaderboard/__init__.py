"""Leaderboards: what is entered, how it is grouped, what is written of it."""
