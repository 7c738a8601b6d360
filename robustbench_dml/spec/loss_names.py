"""Names of losses and miners in pytorch-metric-learning: https://kevinmusgrave.github.io/pytorch-metric-learning."""

from __future__ import annotations

TRIPLET = "triplet"  # the default: the triplet loss of the papers, gamma 0.2, on the triplets of the run's sampler
LOSSES = (
    "AngularLoss",
    "ArcFaceLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "FastAPLoss",
    "GeneralizedLiftedStructureLoss",
    "IntraPairVarianceLoss",
    "LiftedStructureLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NormalizedSoftmaxLoss",
    "NPairsLoss",
    "NTXentLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "SoftTripleLoss",
    "SubCenterArcFaceLoss",
    "SupConLoss",
    "TripletMarginLoss",
    "TupletMarginLoss",
)
NO_MINER = "none"
LOSS_MINERS = (
    "AngularMiner",
    "BatchEasyHardMiner",
    "BatchHardMiner",
    "DistanceWeightedMiner",
    "MultiSimilarityMiner",
    "PairMarginMiner",
    "TripletMarginMiner",
)
