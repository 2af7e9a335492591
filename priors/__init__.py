"""Priors: what images look like."""

if __name__ != "invreg.priors":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.priors, not priors")

from invreg.priors.denoise import tv_denoise
from invreg.priors.fields_of_experts import FieldsOfExperts
from invreg.priors.group_nuclear import GroupNuclear
from invreg.priors.icnn import ConvPotential, DensePotential, ImagePotential, Potential
from invreg.priors.jacobian import Jacobian
from invreg.priors.l1 import L1
from invreg.priors.l2 import SquaredL2
from invreg.priors.lpn import LPN
from invreg.priors.norms import GroupHuber, GroupL1
from invreg.priors.nuclear import NuclearNorm
from invreg.priors.patches import PatchPotential
from invreg.priors.sets import Box, NonNegative
from invreg.priors.simplex import Simplex
from invreg.priors.smooth_tv import SmoothTV
from invreg.priors.tgv import TGV
from invreg.priors.through import Through
from invreg.priors.tv import TV, DirectionalTV, SpaceVariantTV
from invreg.priors.unet import ResidualUNet

__all__ = [
    "L1",
    "LPN",
    "TGV",
    "TV",
    "Box",
    "ConvPotential",
    "DensePotential",
    "DirectionalTV",
    "FieldsOfExperts",
    "GroupHuber",
    "GroupL1",
    "GroupNuclear",
    "ImagePotential",
    "Jacobian",
    "NonNegative",
    "NuclearNorm",
    "PatchPotential",
    "Potential",
    "ResidualUNet",
    "Simplex",
    "SmoothTV",
    "SpaceVariantTV",
    "SquaredL2",
    "Through",
    "tv_denoise",
]
