"""A fan-beam file through the whole job: rebinned to parallel rays, then reconstructed."""

import h5py
import numpy as np
import scipy.io
from phantoms import ellipse_image, random_ellipses, scaled
from test_corrections import fan_integrals

from invreg.cli import main
from invreg.operators.tomography.geometry import FanBeam2D


def test_a_helsinki_challenge_file_is_reconstructed(tmp_path):
    angles = np.arange(361) * np.pi / 180  # the last view repeats the first
    g = FanBeam2D(angles, 200, 0.2, 99.5, "mm", 410.66, 553.74)
    e = scaled(random_ellipses(3, 8), 13.0)
    parameters = {
        "angles": np.rad2deg(angles),
        "distanceSourceOrigin": g.source_origin,
        "distanceSourceDetector": g.source_detector,
        "pixelSize": 0.05,
        "pixelSizePost": g.pitch,
        "geometricMagnification": g.source_detector / g.source_origin,
    }
    struct = {"type": "2D", "sinogram": fan_integrals(e, g), "parameters": parameters}
    scipy.io.savemat(tmp_path / "htc.mat", {"CtDataFull": struct})
    assert (
        main(["reconstruct", str(tmp_path / "htc.mat"), "--recipe", "fbp", "--out", str(tmp_path / "out"), "--quiet"])
        == 0
    )
    with h5py.File(tmp_path / "out" / "volume.h5") as file:
        volume = next(v for v in file.values() if isinstance(v, h5py.Dataset) and v.ndim == 3)[0]
    truth = ellipse_image(e, volume.shape, g.pitch * g.source_origin / g.source_detector)
    assert np.linalg.norm(volume - truth) < 0.15 * np.linalg.norm(truth)
