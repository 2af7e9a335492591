"""Priors: what images look like."""

if __name__ != "invreg.priors":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.priors, not priors")

from invreg.priors.denoise import tv_denoise
from invreg.priors.group_nuclear import GroupNuclear
from invreg.priors.jacobian import Jacobian
from invreg.priors.norms import GroupHuber, GroupL1
from invreg.priors.sets import Box, NonNegative
from invreg.priors.tv import TV, DirectionalTV, SpaceVariantTV

__all__ = [
    "TV",
    "Box",
    "DirectionalTV",
    "GroupHuber",
    "GroupL1",
    "GroupNuclear",
    "Jacobian",
    "NonNegative",
    "SpaceVariantTV",
    "tv_denoise",
]
