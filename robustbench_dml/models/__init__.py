"""Networks: backbones, the embedder, checkpoints and pretrained weights."""
