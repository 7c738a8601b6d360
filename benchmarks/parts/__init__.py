"""What is measured: a file for each part of the work, with its cases and its table."""
