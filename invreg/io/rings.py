"""Stripes of a sinogram, which become rings in the image: bins with an offset of their own."""

import numpy as np
import numpy.typing as npt


def remove_stripes(values: npt.NDArray[np.float32], width: int = 9) -> npt.NDArray[np.float32]:
    """Take constant offsets of single bins out of line integrals (angle, row, detector).

    The offset of a bin is the median over views of its difference from the median of the `width` bins around.
    Only offsets that stand out by more than three robust standard deviations are taken away.
    """
    from scipy.ndimage import median_filter

    smooth = median_filter(values, (1, 1, width), mode="mirror")
    offset = np.median(values - smooth, axis=0)
    spread = 1.4826 * np.median(np.abs(offset), axis=1, keepdims=True)
    return (values - np.where(np.abs(offset) > 3 * spread, offset, 0)).astype(np.float32)
