"""Training under a metered budget: the defense contract, losses, miners, batches, the meter and the trainer."""
