"""Optimisers over images. One file each; importing it registers it. See `optimisers.base.Optimiser`."""
