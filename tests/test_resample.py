"""Down- and upsampling against written-out sums, MATLAB's algorithm, torch and deepinv."""

import math

import numpy as np
import pytest
import torch
from members import uniform

from invreg.operators import Blur, Downsample, Resize, Upsample

DOUBLE = torch.float64


def _dense(A) -> np.ndarray:
    basis = torch.eye(A.domain.size, dtype=DOUBLE).reshape(-1, *A.domain.shape)
    return A(basis).reshape(A.domain.size, -1).T.numpy()


def _keys(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def _imresize_matrix(size: int, out: int) -> np.ndarray:
    """MATLAB's `contributions` for the bicubic kernel with antialiasing, in its own steps and indices from 1."""
    scale = out / size
    shrink = min(scale, 1.0)
    width = 4 / shrink
    matrix = np.zeros((out, size))
    mirrored = [*range(1, size + 1), *range(size, 0, -1)]
    for x in range(1, out + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        indices = [left + p for p in range(math.ceil(width) + 2)]
        weights = np.array([shrink * _keys(shrink * (u - i)) for i in indices])
        for i, weight in zip(indices, weights / weights.sum(), strict=True):
            matrix[x - 1, mirrored[(i - 1) % (2 * size)] - 1] += weight
    return matrix


@pytest.mark.parametrize("shape, size", [((12, 9), (6, 3)), ((11, 8), (4, 8)), ((5, 7), (8, 21)), ((9, 3), (1, 1))])
def test_resize_is_matlabs_bicubic(shape, size):
    x = uniform(*shape)
    R, C = (_imresize_matrix(n, m) for n, m in zip(shape, size, strict=True))
    expected = torch.from_numpy(R @ x.numpy() @ C.T)
    torch.testing.assert_close(Resize(shape, size)(x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [(32, 24), (20, 31), (17, 48)], ids=str)
def test_resize_agrees_with_torch_away_from_the_edges(size):
    x = uniform(64, 48)
    y = torch.nn.functional.interpolate(x[None, None], size=size, mode="bicubic", antialias=True)[0, 0]
    margin = 5  # torch cuts the kernel off at the edge, MATLAB mirrors the image
    inside = (slice(margin, -margin), slice(margin, -margin))
    torch.testing.assert_close(Resize((64, 48), size)(x)[inside], y[inside], rtol=0, atol=1e-6)


def test_resize_agrees_with_deepinv_at_half_the_size():
    physics = pytest.importorskip("invreg.adapters.deepinv", exc_type=ImportError).deepinv.physics
    x = uniform(24, 30).float()
    y = physics.DownsamplingMatlab(factor=2).A(x[None, None])[0, 0]
    torch.testing.assert_close(Resize((24, 30), (12, 15))(x), y, rtol=0, atol=1e-6)


def test_cubic_downsampling_is_resizing_where_the_sizes_divide():
    x = uniform(12, 15)
    torch.testing.assert_close(Downsample((12, 15), 3, "cubic")(x), Resize((12, 15), (4, 5))(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_box_downsampling_averages_blocks(factor):
    x = uniform(5 * factor, 4 * factor)
    expected = torch.nn.functional.avg_pool2d(x[None], factor)[0]
    torch.testing.assert_close(Downsample(tuple(x.shape), factor)(x), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("phase", [(0, 0), (1.25, 0.5), (2.5, 2)], ids=str)
@pytest.mark.parametrize(("boundary", "mode"), [("reflect", "symmetric"), ("periodic", "wrap"), ("zero", "constant")])
@pytest.mark.parametrize("kernel", ["box", "linear", "cubic"])
def test_downsampling_is_the_sum_of_its_documentation(phase, boundary, mode, kernel):
    factor, reach, x = 3, 8, uniform(10, 14).numpy()
    padded = np.pad(x, reach, mode=mode)
    axes = []
    for size, first in zip(x.shape, phase, strict=True):
        places = np.arange(first, size - 0.5, factor)
        t = np.arange(-reach, size + reach) - places[:, None]
        shares = np.clip(np.minimum(t + 0.5, factor / 2) - np.maximum(t - 0.5, -factor / 2), 0, None)
        weights = {
            "box": shares,
            "linear": np.clip(1 - abs(t) / factor, 0, None),
            "cubic": np.vectorize(_keys)(t / factor),
        }[kernel]
        axes.append(weights / weights.sum(1, keepdims=True))
    expected = torch.from_numpy(axes[0] @ padded @ axes[1].T)
    A = Downsample((10, 14), factor, kernel, phase, boundary)
    torch.testing.assert_close(A(torch.from_numpy(x)), expected, rtol=0, atol=1e-13)


def test_any_kernel_by_composition_with_a_blur():
    kernel, x = uniform(4, 3), uniform(9, 8)
    A = Downsample((9, 8), 2, "none", (1, 0)) @ Blur(kernel, (9, 8), "reflect")
    torch.testing.assert_close(A(x), Blur(kernel, (9, 8), "reflect")(x)[1::2, ::2], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kernel", ["box", "linear", "cubic"])
@pytest.mark.parametrize("factor", [2, 3])
def test_upsampling_keeps_constants_and_inverts_the_grid(kernel, factor):
    A = Upsample((6, 5), factor, kernel)
    torch.testing.assert_close(A(torch.ones(6, 5, dtype=DOUBLE)), torch.ones(6 * factor, 5 * factor, dtype=DOUBLE))
    if factor == 3 or kernel == "box":
        x = uniform(6, 5)
        torch.testing.assert_close(A(x)[factor // 2 :: factor, factor // 2 :: factor], x, rtol=0, atol=1e-13)
    np.testing.assert_allclose(_dense(A), factor**2 * _dense(Downsample((6 * factor, 5 * factor), factor, kernel)).T)


def test_linear_upsampling_is_torchs_bilinear():
    x = uniform(7, 6)
    y = torch.nn.functional.interpolate(x[None, None], scale_factor=4, mode="bilinear")[0, 0]
    torch.testing.assert_close(Upsample((7, 6), 4, "linear")(x), y, rtol=0, atol=1e-14)


def test_channels_and_batches_in_float32():
    A, x = Resize((20, 18), (7, 30)), uniform(2, 3, 20, 18)
    assert A(x.float()).dtype == torch.float32
    torch.testing.assert_close(A(x.float()).double(), A(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Downsample((8, 8), 0), "whole factor from 1"),
        (lambda: Downsample((8, 8), 1.5), "whole factor from 1.*got 1.5"),
        (lambda: Downsample((8, 4), 5), r"to the size of the image \(8, 4\); got 5"),
        (lambda: Downsample((8, 8), 2, "lanczos"), "'none', 'box', 'linear', 'cubic'; got 'lanczos'"),
        (lambda: Downsample((8, 8), 2, boundary="valid"), "'reflect', 'periodic', 'zero'; got 'valid'"),
        (lambda: Downsample((8, 8), 2, phase=(0, 2)), r"phases from 0 to factor - 1/2 = 1.5; got \(0, 2\)"),
        (lambda: Downsample((8, 8), 2, "none", (0.5, 0)), "whole for kernel 'none'"),
        (lambda: Upsample((8, 8), 0), "whole factor"),
        (lambda: Resize((8, 8), (0, 4)), r"Resize \(size\) takes the shape"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
