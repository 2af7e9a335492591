"""How far an image is from a reference: PSNR, SSIM, relative error, data range and mask stated."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _pair(x: Any, reference: Any, mask: Any) -> tuple[Array, Array, Array]:
    a, b = np.asarray(x), np.asarray(reference)
    if np.iscomplexobj(a) or np.iscomplexobj(b):
        raise ValueError(
            f"image ({a.dtype}) and reference ({b.dtype}) must be real; of complex ones compare the moduli"
        )
    a, b = a.astype(np.float64), b.astype(np.float64)
    m = np.ones(b.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if a.shape != b.shape or m.shape != b.shape or not m.any():
        raise ValueError(
            f"image {a.shape}, reference {b.shape} and mask {m.shape} must agree, and the mask hold a pixel"
        )
    return a, b, m


def psnr(x: Any, reference: Any, *, data_range: float, mask: Any = None) -> float:
    """10 log10(data_range^2 / mean squared error), in dB; inf for equal images.

    x, reference: arrays or tensors of one shape and unit; data_range: the span of values that counts as
    full scale, in that unit (it shifts the figure, so there is no default); mask: where to compare, default
    everywhere.
    """
    a, b, m = _pair(x, reference, mask)
    error = float(np.mean((a[m] - b[m]) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(data_range**2 / error))


def relative_error(x: Any, reference: Any, *, mask: Any = None) -> float:
    """|x - reference| / |reference| in the Euclidean norm over the mask."""
    a, b, m = _pair(x, reference, mask)
    return float(np.linalg.norm(a[m] - b[m]) / np.linalg.norm(b[m]))


def ssim(x: Any, reference: Any, *, data_range: float, mask: Any = None) -> float:
    """Mean structural similarity over the mask of images (h, w), with a 7 by 7 window, in [-1, 1].

    Source: Wang et al., IEEE Trans. Image Process. 13 (2004), as in scikit-image with its default window.
    """
    from skimage.metrics import structural_similarity

    a, b, m = _pair(x, reference, mask)
    _, similarity = structural_similarity(a, b, data_range=data_range, full=True)
    return float(np.mean(similarity[m]))
