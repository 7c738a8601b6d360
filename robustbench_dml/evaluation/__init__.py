"""Evaluation of a model: the attack contract, its context, ensembles, diagnostics and the cache of attacks."""
