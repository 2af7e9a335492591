"""Networks of one number with a Laplace density, against what is known of it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SPEC = importlib.util.spec_from_file_location(
    "lpn_laplace", Path(__file__).parent.parent / "benchmarks" / "lpn_laplace.py"
)
laplace = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(laplace)


def test_the_posterior_is_that_of_quadrature():
    y, x = np.array([-4, -2.3, -0.4, 0, 0.3, 1, 2, 3.7]), np.linspace(-40, 40, 400001)
    density = np.exp(-np.abs(x) - (x - y[:, None]) ** 2 / 2)
    density /= density.sum(1, keepdims=True)
    assert laplace.posterior_mean(y) == pytest.approx(density @ x, abs=1e-7)
    median = x[(density.cumsum(1) >= 0.5).argmax(1)]
    assert laplace.posterior_median(y) == pytest.approx(median, abs=3e-4)  # a step of x
    objective = np.abs(x) + (x - y[:, None]) ** 2 / 2
    assert laplace.soft_threshold(y) == pytest.approx(x[objective.argmin(1)], abs=3e-4)


@pytest.mark.slow
def test_each_loss_leads_to_its_own_estimate_and_matching_to_the_prior():
    y = np.linspace(-4, 4, 801)
    nets = {name: psi for name, (psi, _) in laplace.trained(0).items()}
    x = {name: laplace.prior(psi, y)[0] for name, psi in nets.items()}

    def error(name, reference):
        return np.sqrt(np.mean((x[name] - laplace.REFERENCES[reference](y)) ** 2))

    assert error("squared loss", "posterior mean") < 0.5 * error("squared loss", "soft threshold")
    assert error("absolute loss", "posterior median") < 0.5 * error("absolute loss", "soft threshold")
    assert error("proximal matching", "soft threshold") < 0.5 * error("squared loss", "soft threshold")
    assert error("proximal matching", "soft threshold") < 0.5 * error("absolute loss", "soft threshold")
    f = x["proximal matching"]
    assert np.abs(f[np.abs(y) <= 0.5]).max() < 0.12 and (np.diff(f) >= -1e-6).all()
    at, R = laplace.prior(nets["proximal matching"], np.linspace(-6, 6, 2401))
    assert all(1.75 <= level <= 2.25 for level in np.interp([-2, 2], at, R))
