"""Fixtures: every contract test runs on each device that is present, in both precisions."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read at import; scipy's minimisers wait for threads without need

import pytest
import torch

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(20240611)


@pytest.fixture
def threads():
    """torch.set_num_threads, taken back after the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(threads):
    """For many operations on small tensors, in which threads wait for each other longer than they work."""
    threads(1)


@pytest.fixture
def fake(monkeypatch):
    """The fast recipe of scans.py, under the name "fake"."""
    import scans

    from invreg.recipes import RECIPES

    recipe = scans.Fake()
    monkeypatch.setitem(RECIPES, "fake", scans.as_recipe(recipe))
    return recipe
