"""Tomography: geometries, ray transforms, filtered back-projection."""

from invreg.operators.tomography.filters import fbp
from invreg.operators.tomography.geometry import Parallel2D
from invreg.operators.tomography.normal import ToeplitzNormal
from invreg.operators.tomography.xray import XRay

__all__ = ["Parallel2D", "ToeplitzNormal", "XRay", "fbp"]
