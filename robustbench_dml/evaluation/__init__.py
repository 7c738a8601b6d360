"""Evaluation: the attack contract, its context, ensembles, diagnostics and caches."""
