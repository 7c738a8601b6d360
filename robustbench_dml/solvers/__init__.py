"""Solvers over images. One file each; importing it registers it. See `solvers.base.Solver`."""
