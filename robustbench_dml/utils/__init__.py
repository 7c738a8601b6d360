"""Small helpers that know nothing of learning: files, locks, progress, randomness, statistics, tensors."""
