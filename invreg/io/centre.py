"""Where the rotation axis falls on the detector."""

import numpy as np
import numpy.typing as npt


def find_centre(sinogram: npt.NDArray[np.float32], angles: npt.NDArray[np.float64]) -> tuple[float, bool, str]:
    """Bin of the axis, whether it is sure, and why in words. sinogram: (angle, row, detector)."""
    s = sinogram.astype(np.float64)
    mass = s.sum((1, 2))
    m = (s.sum(1) * np.arange(s.shape[2])).sum(1) / mass
    basis = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], 1)
    centre = float(np.linalg.lstsq(basis, m, rcond=None)[0][0])
    return centre, False, f"{centre:.2f} from the centre of mass of the views"
