"""Tomography: geometries, ray transforms, filtered back-projection."""

from invreg.operators.tomography.astra_geometry import from_astra, to_astra
from invreg.operators.tomography.filtered_backprojection import fbp, fdk
from invreg.operators.tomography.geometry import FanBeam2D, Parallel2D, Views2D
from invreg.operators.tomography.geometry3d import ConeBeam, Parallel3D, Views3D, helix
from invreg.operators.tomography.normal import ToeplitzNormal
from invreg.operators.tomography.plot import plot
from invreg.operators.tomography.streaming import backproject_by_slabs, fdk_by_slabs, project_by_slabs
from invreg.operators.tomography.xray import XRay

__all__ = [
    "ConeBeam",
    "FanBeam2D",
    "Parallel2D",
    "Parallel3D",
    "ToeplitzNormal",
    "Views2D",
    "Views3D",
    "XRay",
    "backproject_by_slabs",
    "fbp",
    "fdk",
    "fdk_by_slabs",
    "from_astra",
    "helix",
    "plot",
    "project_by_slabs",
    "to_astra",
]
