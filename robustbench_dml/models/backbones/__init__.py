"""Networks from normalised images to features. One file per family; each registers itself."""
