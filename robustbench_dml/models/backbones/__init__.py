"""Backbones, which map normalised images to features. One file per family, registered on import."""
