"""Submission of records to the leaderboards, and their withdrawal."""
