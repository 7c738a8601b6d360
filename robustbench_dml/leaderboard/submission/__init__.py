"""The way of a record into `leaderboards/`, and out of it."""
