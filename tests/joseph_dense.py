"""The slow twin of the GPU's ray transform: Joseph's weights ray by ray, plane by plane, as a dense matrix."""

import itertools

import numpy as np

from invreg.operators import Views2D


def joseph_matrix(geometry, shape, pixel, thickness=None):
    """(bins, voxels) in float64: rays through the bins' middles, followed along the axis they are nearest to."""
    views = geometry.general()
    flat = isinstance(views, Views2D)
    if flat:
        places = np.pad(views.points(np.arange(float(views.detectors))), ((0, 0), (0, 0), (0, 1)))
        sources = np.pad(views.source, ((0, 0), (0, 1)))
        shape, thickness = (1, *shape), pixel
    else:
        places = views.points(np.arange(float(views.rows)), np.arange(float(views.columns)))
        places, sources = places.reshape(len(views.source), -1, 3), views.source
        thickness = thickness or pixel
    depth, h, w = shape
    sizes, counts = np.array([pixel, pixel, thickness]), np.array([w, h, depth])
    matrix = np.zeros((places.shape[0] * places.shape[1], depth, h, w))
    for i, (a, b) in enumerate(itertools.product(range(places.shape[0]), range(places.shape[1]))):
        start = places[a, b] if views.parallel else sources[a]
        ray = sources[a] if views.parallel else places[a, b] - sources[a]
        drive = int(np.argmax(np.abs(ray / sizes)))  # the first of equals
        for plane in range(counts[drive]):
            at = (plane - (counts[drive] - 1) / 2) * sizes[drive] * (-1 if drive == 1 else 1)
            t = (at - start[drive]) / ray[drive]
            if t <= 0 and not views.parallel:
                continue
            point = (start + t * ray) / sizes * [1, -1, 1] + (counts - 1) / 2
            point[drive] = plane
            low = np.floor(point + 1e-12).astype(int)
            for step in itertools.product(*[(0,) if axis == drive else (0, 1) for axis in range(3)]):
                voxel = low + step
                weight = np.prod(1 - np.abs(point - voxel).clip(max=1))
                if (voxel >= 0).all() and (voxel < counts).all():
                    matrix[i, voxel[2], voxel[1], voxel[0]] += (
                        weight * sizes[drive] * np.linalg.norm(ray) / abs(ray[drive])
                    )
    return matrix.reshape(len(matrix), -1)
