"""Solvers that find perturbations of images. One file each, registered on import. See `solvers.base.Solver`."""
