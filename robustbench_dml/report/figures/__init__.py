"""Figures for paper and screen: one look for both layers, ours and as reported."""
