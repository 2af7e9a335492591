"""Recipes on a small simulated scan: exact line integrals of ellipses, averaged over the bins, with known noise."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from phantoms import ellipse_image, ellipse_sinogram, random_ellipses, scaled
from torch import Tensor

from invreg.metrics import relative_error
from invreg.operators import Parallel2D, XRay, fbp
from invreg.recipes import RECIPES, Reconstruction
from invreg.recipes.config import Config

N, ROWS = 64, 2
PIXEL = 0.5  # mm
STD = torch.tensor([0.05, 0.08])  # about one per cent of the largest line integrals
VARIATIONAL = ("tv", "svtv")
PLANE = [
    name for name, recipe in RECIPES.items() if not recipe.volume and name != "lpn"
]  # test_fdk.py, test_lpn_use.py


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scan(views: int, seed: int = 0) -> tuple[XRay, Tensor, Tensor]:
    """A, the rows of the truth (row, h, w) per mm and their line integrals (row, angle, detector)."""
    g = Parallel2D(np.arange(views) * np.pi / views, 96, PIXEL, 46.7, "mm")
    rows = [scaled(random_ellipses(11 + i, 7), PIXEL * N / 2) for i in range(ROWS)]
    truth = np.stack([ellipse_image(row, (N, N), PIXEL) for row in rows]).astype(np.float32)
    exact = np.stack([ellipse_sinogram(row, g, average_bins=True) for row in rows]).astype(np.float32)
    noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed))
    return XRay(g, (N, N)), torch.from_numpy(truth), torch.from_numpy(exact) + STD[:, None, None] * noise


def run(
    name: str, views: int = 20, progress: Callable[[Any], object] = lambda row: None, **settings: Any
) -> tuple[Reconstruction, Tensor]:
    A, truth, y = scan(views)
    config = Config.model_validate({"recipe": name, **settings})
    return RECIPES[name].run(A, y, config, STD, progress), truth


@pytest.fixture(scope="module")
def few_views() -> dict[str, tuple[Reconstruction, Tensor, list[dict[str, Any]]]]:
    """All recipes at 20 views with their defaults, and what each told on its way."""
    results = {}
    for name in PLANE:
        told: list[dict[str, Any]] = []
        results[name] = *run(name, progress=told.append), told
    return results


every_recipe = pytest.mark.parametrize("name", PLANE)
variational = pytest.mark.parametrize("name", VARIATIONAL)


def error(result: Reconstruction, truth: Tensor) -> float:
    return max(relative_error(x, t) for x, t in zip(result.x, truth, strict=True))


@every_recipe
def test_images_are_close_to_the_truth(name, few_views):
    result, truth, _ = few_views[name]
    assert result.x.shape == truth.shape and result.x.dtype == torch.float32
    assert result.status == "converged" and (name == "fbp" or "converged" in result.summary)
    assert error(result, truth) < {"tv": 0.1, "svtv": 0.1, "cgls": 0.27, "fbp": 0.35}[name]
    inside = truth > 0.2
    assert float(result.x[inside].mean() / truth[inside].mean()) == pytest.approx(1, abs=0.06)


@variational
def test_priors_beat_direct_methods_at_few_views(name, few_views):
    errors = {other: error(*few_views[other][:2]) for other in PLANE}
    assert errors[name] < 0.5 * errors["fbp"] and errors[name] < 0.75 * errors["cgls"]


@every_recipe
def test_histories_tell_their_stages_as_they_go(name, few_views):
    result, _, told = few_views[name]
    assert told == result.history and all(row["stage"] for row in told)
    stages = list(dict.fromkeys(row["stage"] for row in told))
    last = {"tv": "total variation", "svtv": "space-variant total variation", "cgls": "least squares"}
    assert stages[-1:] == [last[name]] if name in last else not stages


@variational
def test_the_weight_is_chosen_by_the_noise(name, few_views):
    result, _, _ = few_views[name]
    A, _, y = scan(20)
    weight = result.weight
    assert weight is not None and "times the noise" in weight.reason
    row = (ROWS - 1) // 2
    residual = float((A(result.x[row]) - y[row]).square().mean().sqrt())
    target = weight.trials[0]["target"]
    # the target is the noise and the error of a 64 pixel grid, less than what the truth itself leaves over
    assert float(STD[row]) < target < float((A(few_views[name][1][row]) - y[row]).square().mean().sqrt())
    assert residual == pytest.approx(target, rel=0.15)
    assert [w / weight.value for w, _ in weight.neighbours] == pytest.approx([1 / 3, 1, 3])
    assert all(image.shape == (N, N) for _, image in weight.neighbours)
    rough, chosen, smooth = (float(image.diff(dim=0).abs().sum()) for _, image in weight.neighbours)
    assert rough > chosen > smooth
    assert torch.equal(weight.neighbours[1][1], result.x[row])


@variational
def test_the_gap_is_that_of_the_end(name, few_views):
    result, _, _ = few_views[name]
    assert result.gap == result.history[-1]["gap"] <= 1e-3


def test_a_given_weight_is_used():
    given, _ = run("tv", prior={"lambda": 0.3})
    assert given.weight is None or given.weight.value == 0.3
    assert {row["stage"] for row in given.history} == {"total variation"}
    other, _ = run("tv", prior={"lambda": 3.0})
    smooth, rough = (float(r.x.diff(dim=1).abs().sum()) for r in (other, given))
    assert smooth < 0.95 * rough


def test_the_unit_of_the_data_does_not_matter():
    """Eight times the data and the weight: eight times the image."""
    A, _, y = scan(20)
    images = []
    for scale in (1.0, 8.0):
        config = Config.model_validate({"recipe": "tv", "prior": {"lambda": 0.5 * scale}})
        images.append(RECIPES["tv"].run(A, scale * y, config, scale * STD, lambda row: None).x / scale)
    assert relative_error(images[1], images[0]) < 0.02


@pytest.mark.parametrize("limit", [{"eta": 1e6}, {"p": 1.0}], ids=["large eta", "p = 1"])
def test_limits_of_the_weights_are_total_variation(limit):
    plain, _ = run("tv", prior={"lambda": 0.3})
    same, _ = run("svtv", prior={"lambda": 0.3, **limit})
    assert relative_error(same.x, plain.x) < 0.02


@pytest.mark.parametrize("name", ["tv", "svtv", "cgls"])
def test_the_limit_of_iterations_is_kept(name):
    result, _ = run(name, solver={"max_iter": 3, "tol": 1e-12}, prior={"lambda": 0.3})
    stage = result.history[-1]["stage"]
    assert result.status == "max_iter" and "not converged" in result.summary
    assert max(row["iter"] for row in result.history if row["stage"] == stage) == 3


def test_the_tolerance_is_kept():
    result, _ = run("tv", solver={"tol": 1e-2}, prior={"lambda": 0.3})
    assert result.status == "converged" and 1e-4 < result.gap <= 1e-2


def test_cgls_stops_each_row_at_its_noise(few_views):
    result, _, _ = few_views["cgls"]
    A, _, y = scan(20)
    for x, row, std in zip(result.x, y, STD, strict=True):
        residual = (A(x) - row).square().mean().sqrt()
        assert 0.7 * float(std) < float(residual) <= float(std) * 1.001


@pytest.mark.parametrize("filter", ["ramp", "hann"])
def test_fbp_is_the_operator_of_that_name(filter):
    A, _, y = scan(20)
    result, _ = run("fbp", fbp={"filter": filter})
    assert torch.equal(result.x, fbp(y, A.geometry, (N, N), filter=filter)) and filter in result.summary


@pytest.mark.parametrize("name", ["tv", "svtv", "cgls"])
def test_an_interrupt_gives_what_there_is(name):
    def press(row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    result, truth = run(name, progress=press)
    assert result.status == "interrupted" and "interrupted" in result.summary
    assert result.x.shape == truth.shape and bool(result.x.isfinite().all())


@every_recipe
def test_a_measurement_that_is_not_a_number_is_said(name):
    A, _, y = scan(20)
    y[:, 3, 40] = torch.nan
    result = RECIPES[name].run(A, y, Config.model_validate({"recipe": name}), STD, lambda row: None)
    assert result.status == "nonfinite" and "not a finite number" in result.summary


@variational
def test_an_empty_row_in_the_middle_does_not_choose_the_weight(name):
    """Rows of air without noise, as at the ends of a volume that is padded or masked."""
    A, truth, y = scan(20)
    y[0], truth[0] = 0, 0
    std = torch.tensor([0.0, float(STD[1])])
    result = RECIPES[name].run(A, y, Config.model_validate({"recipe": name}), std, lambda row: None)
    assert result.status == "converged"
    assert relative_error(result.x[1], truth[1]) < 0.13 and float(result.x[0].abs().max()) < 1e-3


@variational
def test_a_measurement_without_noise_is_no_error(name):
    A, _, y = scan(20)
    settings = {"recipe": name, "solver": {"max_iter": 50}}
    for measurement in (y, 0 * y):
        result = RECIPES[name].run(A, measurement, Config.model_validate(settings), 0 * STD, lambda row: None)
        assert result.status in ("converged", "max_iter") and bool(result.x.isfinite().all())
