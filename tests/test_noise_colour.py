"""The order of a Sobolev misfit found in noise of known colour."""

import math

import numpy as np
import pytest
import torch

from invreg.operators import Sobolev, sobolev_order

F64 = torch.float64


def coloured(s: float, shape: tuple[int, ...], seed: int, **options) -> torch.Tensor:
    f = Sobolev(torch.zeros(shape, dtype=F64), s, ndim=len(shape), std=1.0, **options)
    return f.sample(torch.zeros(shape, dtype=F64), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("boundary", ["periodic", "cosine"])
@pytest.mark.parametrize("s", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_a_known_colour_is_found_within_its_error(boundary, s):
    found = [
        sobolev_order(coloured(s, (10, 128), seed, boundary=boundary, axes=-1, length=4.0),
                      boundary=boundary, length=4.0)
        for seed in range(60)
    ]  # fmt: skip
    values, errors = np.array(found).T
    assert abs(values.mean() - s) < 4 * values.std() / 60**0.5
    assert values.std() == pytest.approx(errors.mean(), rel=0.3) and errors.mean() < 0.1


def test_colour_over_the_plane_and_with_a_knee():
    noise = coloured(0.7, (96, 80), 0, length=30.0, alpha=20.0)
    found = sobolev_order(noise, length=30.0, alpha=20.0, axes=(-1, -2))
    assert found.s == pytest.approx(0.7, abs=4 * found.error) and found.error < 0.15
    assert abs(sobolev_order(noise, length=30.0, alpha=1e-9, axes=(-1, -2)).s - 0.7) > 4 * found.error


def test_a_smooth_signal_stays_below_the_band():
    t = torch.arange(256, dtype=F64) / 256
    signal = 30 * torch.exp(-((t - 0.5) ** 2) / 0.005).expand(20, 256)
    noise = coloured(-0.5, (20, 256), 0, axes=-1)
    found = sobolev_order(noise + signal)
    assert found.s == pytest.approx(-0.5, abs=4 * found.error)
    assert sobolev_order(noise + signal, band=(0.0, 1.0)).s > 0


def test_what_is_no_noise_is_refused():
    noise = coloured(0.0, (4, 64), 0)
    broken = noise.clone()
    broken[0, 0] = math.nan
    for call, words in (
        (lambda: sobolev_order(broken), "finite measurement y; 1 of 256"),
        (lambda: sobolev_order(torch.zeros(4, 64)), "no power at 25 of 25"),
        (lambda: sobolev_order(noise[:, :8]), "8 frequencies in the band .* there are 4"),
        (lambda: sobolev_order(noise, band=(0.5, 0.2)), "0 <= low < high <= 1"),
        (lambda: sobolev_order(noise, boundary="padded"), "'periodic' or 'cosine'"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
