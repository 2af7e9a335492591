"""Small measurement files with a known truth, and a recipe that is quick, for tests of the command line."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import torch
from phantoms import ellipse_image, ellipse_sinogram, scaled

from invreg.operators.tomography import Parallel2D, fbp
from invreg.recipes import Recipe, Reconstruction, Weight

VIEWS, ROWS, BINS, PIXEL = 36, 4, 48, 0.05  # mm
CENTRE = 24.6
# value in 1/mm, centre and half-axes in the unit disc, rotation
OBJECT = np.array([[0.5, 0.0, 0.05, 0.6, 0.5, 0.3], [0.4, 0.2, 0.1, 0.2, 0.15, 0.0]])


def ellipses(row: int) -> np.ndarray:
    """The object of a row, in mm; its values rise by a tenth from row to row."""
    changed = OBJECT.copy()
    changed[:, 0] *= 1 + 0.1 * row
    return scaled(changed, 0.45 * BINS * PIXEL)


def truth(size: int = BINS) -> np.ndarray:
    """(row, h, w) in 1/mm."""
    return np.stack([ellipse_image(ellipses(r), (size, size), PIXEL * BINS / size) for r in range(ROWS)])


def degrees() -> np.ndarray:
    return np.arange(VIEWS) * 180.0 / VIEWS


def line_integrals() -> np.ndarray:
    """(angle, row, detector), exact."""
    g = Parallel2D(np.deg2rad(degrees()), BINS, PIXEL, CENTRE, "mm")
    return np.stack([ellipse_sinogram(ellipses(r), g) for r in range(ROWS)], axis=1)


def arrays(noise: float = 0.0) -> dict[str, Any]:
    """The datasets of a scan in the DataExchange layout: 20000 photons a bin, darks of 100 counts."""
    rng = np.random.default_rng(5)
    beam = 2e4 * (1 + 0.1 * np.cos(np.arange(BINS) / 5))
    clean = beam * np.exp(-line_integrals())
    flats = np.repeat(np.repeat(beam[None, None], ROWS, 1), 5, 0)
    return {
        "data": (clean + noise * np.sqrt(clean) * rng.standard_normal(clean.shape) + 100).astype(np.float32),
        "data_white": (flats + noise * np.sqrt(flats) * rng.standard_normal(flats.shape) + 100).astype(np.float32),
        "data_dark": np.full((3, ROWS, BINS), 100, np.float32),
        "theta": degrees(),
    }


def write_scan(path: Path, **changed: Any) -> Path:
    """A DataExchange file of `arrays`, some datasets `changed` or, with None, left out."""
    with h5py.File(path, "w") as file:
        for key, value in (arrays() | changed).items():
            if value is not None:
                file[f"exchange/{key}"] = value
        if "exchange/theta" in file:
            file["exchange/theta"].attrs["units"] = "degrees"
        file["measurement/instrument/detector/pixel_size_x"] = PIXEL
        file["measurement/instrument/detector/pixel_size_x"].attrs["units"] = "mm"
    return path


class Fake:
    """A recipe by filtered back-projection that remembers its calls; `behave` may misbehave before each."""

    def __init__(self) -> None:
        self.calls: list[SimpleNamespace] = []
        self.status = "converged"
        self.behave = lambda call: None

    def run(self, A: Any, y: torch.Tensor, config: Any, std: torch.Tensor, progress: Any) -> Reconstruction:
        call = SimpleNamespace(rows=len(y), y=y, config=config, std=std, index=len(self.calls))
        self.calls.append(call)
        status = self.behave(call) or self.status
        history = []
        for k in range(1, 4):
            history.append({"iter": 10.0 * k, "gap": 10.0**-k, "objective": 1 + 10.0**-k, "stage": "solve"})
            progress(history[-1])
        x = fbp(y, A.geometry, A.domain.shape, A.pixel_size)
        weight = None
        if config.prior.weight == "auto":
            trials = [{"weight": w, "residual": 5 * w, "target": 0.1} for w in (0.01, 0.02, 0.04)]
            neighbours = [(w, x[0] * (1 - w)) for w in (0.01, 0.02, 0.04)]
            weight = Weight(0.02, "its residual is what the noise explains", trials, neighbours)
        return Reconstruction(x, status, f"{status}: gap 1.0e-03 after 30 iterations", history, weight, 1e-3)


def as_recipe(fake: Fake) -> Recipe:
    return Recipe("fake", "a recipe of the tests", fake.run)
