"""Priors: what images look like."""

if __name__ != "invreg.priors":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.priors, not priors")

from invreg.priors.fields_of_experts import FieldsOfExperts
from invreg.priors.norms import GroupL1
from invreg.priors.sets import Box, NonNegative
from invreg.priors.smooth_tv import SmoothTV
from invreg.priors.tv import TV, SpaceVariantTV

__all__ = ["TV", "Box", "FieldsOfExperts", "GroupL1", "NonNegative", "SmoothTV", "SpaceVariantTV"]
