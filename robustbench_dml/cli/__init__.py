"""The command `rbdml`: one file per command."""
