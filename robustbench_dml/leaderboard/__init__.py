"""Leaderboards: entries, boards, tables, the page, and submission."""
