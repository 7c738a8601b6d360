"""What can be seen of a run while it goes on and afterwards. Nothing here changes a result."""
