"""The page: all boards in one file that needs no network."""
