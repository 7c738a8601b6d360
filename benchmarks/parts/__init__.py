"""Measured parts of the work. Each file has the cases and the table of one part."""
