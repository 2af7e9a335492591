"""Priors: what images look like."""

if __name__ != "invreg.priors":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.priors, not priors")

from invreg.priors.norms import GroupL1
from invreg.priors.sets import Box, NonNegative
from invreg.priors.tv import TV, SpaceVariantTV
from invreg.priors.unet import ResidualUNet

__all__ = ["TV", "Box", "GroupL1", "NonNegative", "ResidualUNet", "SpaceVariantTV"]
