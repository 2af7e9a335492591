"""The results of a job, written into its work folder, from which they are moved out when all are there."""

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from invreg.checkpoint import Checkpoint
from invreg.io import line_integral_std, write_tiff, write_volume_hdf5
from invreg.metrics import psnr, relative_error, ssim
from invreg.prepare import Survey, truth
from invreg.progress import Clock
from invreg.report.figures import preview
from invreg.report.page import Shown, page
from invreg.report.provenance import versions

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Array = npt.NDArray[np.float32]
RESULTS = ("volume.tif", "volume.h5", "preview.png", "report.html", "recipe.toml", "history.csv")


def write_results(
    config: "Config", seen: Survey, kept: Checkpoint, clock: Clock, code: int, words: str, warnings: list[str]
) -> dict[str, float]:
    """Write all of RESULTS into `kept.folder`; the metrics against the truth, where there is one."""
    folder, volume = kept.folder, kept.volume()
    unit, pixel = seen.geometry.unit, seen.A.pixel_size
    with clock("write"):
        lengths: dict[str, Any] = {"pixel_size": pixel, "slice_thickness": seen.thickness, "unit": unit}
        write_tiff(folder / "volume.tif", volume, **lengths)
        write_volume_hdf5(folder / "volume.h5", volume, **lengths)
        recipe = recipe_text(config, kept)
        (folder / "recipe.toml").write_text(recipe)
        _tell_rows(folder / "volume.h5", kept, seen, recipe, words)
        _history(folder / "history.csv", kept)
        title = f"{seen.path.name}, {config.recipe}, {seen.geometry.shape[0]} views"
        preview(folder / "preview.png", _pictures(seen, volume), pixel * volume.shape[2], unit, title)
        shown = _shown(seen, kept)
        metrics = shown.metrics
        (folder / "report.html").write_text(
            page(config, seen, kept, clock, shown, code=code, words=words, warnings=warnings, recipe=recipe)
        )
    return metrics


def _pictures(seen: Survey, volume: Array) -> list[tuple[str, Array, float]]:
    """Name, image and height of the first, middle and last row, or of a cone's middle slice and of a cut along z."""
    first, middle = seen.rows[0], len(volume) // 2
    numbers = [middle] if seen.cone is not None else sorted({0, middle, len(volume) - 1})
    side = seen.A.pixel_size * volume.shape[1]
    word = "row" if seen.cone is None else "slice"
    images = [(f"{word} {first + k}", np.array(volume[k]), side) for k in numbers]
    if seen.thickness is not None:
        cut = np.array(volume[::-1, volume.shape[1] // 2])
        images.append(("along the axis", cut, seen.thickness * len(volume)))
    return images


def recipe_text(config: "Config", kept: Checkpoint) -> str:
    """The settings as a recipe file that gives this run again, with what was found in comments."""
    from invreg.recipes.config import dump

    assert config.data.file is not None
    config = config.model_copy(update=_relative(config, kept.out))
    weight = kept.state.get("weight")
    comments = {"correct.centre": "of the detector before binning"}
    if weight is not None and config.prior.weight == "auto":
        comments["prior.lambda"] = f"chosen: {weight['value']!r}; write it here to use it on other rows or scans"
    order = kept.state.get("misfit")
    if order is not None and config.misfit.s == "auto":
        comments["misfit.s"] = f"chosen: {order['s']!r}, {order['reason']}"
    if "range" in kept.state and config.prior.range == "auto":
        comments["prior.range"] = f"chosen: {kept.state['range']!r}"
    head = (
        f"invreg reconstruct FILE --recipe recipe.toml gives this run again.\n"
        f"Made by invreg {versions()['invreg']} from a measurement with the fingerprint {kept.state['fingerprint']}."
    )
    return dump(config, comments, head)


def _relative(config: "Config", out: Path) -> dict[str, Any]:
    """The sections that hold paths, with these as they are seen from the folder the recipe file will be in."""
    from invreg.weights import names

    found = {}
    for name, keys in {"data": ("file", "angles"), "prior": ("weights",)}.items():
        section = getattr(config, name)
        paths = {key: path for key in keys if (path := getattr(section, key)) not in (None, *names())}
        found[name] = section.model_copy(update={key: os.path.relpath(path, out) for key, path in paths.items()})
    return found


def _tell_rows(path: Path, kept: Checkpoint, seen: Survey, recipe: str, words: str) -> None:
    """Add to a volume in HDF5 what is known of each row, and where the volume came from."""
    import h5py

    rows = [(row, b) for b in kept.batches for row in range(b["first"], b["end"])]
    with h5py.File(path, "r+") as file:
        file["row"] = np.array([row for row, _ in rows])
        file["status"] = [b["status"] for _, b in rows]
        file["gap"] = np.array([np.nan if b["gap"] is None else b["gap"] for _, b in rows])
        file["noise"] = np.array([b["std"][row - b["first"]] for row, b in rows], dtype=np.float32)
        file["row"].attrs["description"] = "number of the row in the measurement, from 0"
        file["gap"].attrs["description"] = "primal-dual gap relative to the objective, NaN where the recipe has none"
        file["noise"].attrs["description"] = "standard deviation of the line integrals, NaN where it was not looked at"
        weight = kept.state.get("weight")
        file.attrs.update(
            {
                "source": str(seen.path),
                "fingerprint": kept.state["fingerprint"],
                "verdict": words,
                "recipe": recipe,
                "versions": json.dumps(versions()),
            }
            | ({} if weight is None else {"lambda": weight["value"]})
            | ({} if "misfit" not in kept.state else {"s": kept.state["misfit"]["s"]})
        )


def _history(path: Path, kept: Checkpoint) -> None:
    """All rows of the solvers' histories, with the rows of the volume they are of."""
    lines = [{"first": b["first"], "end": b["end"], **row} for b in kept.batches for row in b["history"]]
    names = list(dict.fromkeys(name for line in lines for name in line)) or ["first", "end"]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows(lines)


def _shown(seen: Survey, kept: Checkpoint) -> Shown:
    """The middle row, or the last one before it that is finished: image, data, prediction, truth."""
    k = max(i for i in range(seen.shown + 1) if i == 0 or seen.looked[i] < kept.done)
    looked = int(seen.looked[k])
    row = min(max(looked, seen.rows[0]), kept.done - 1)  # of a cone beam it may not be among the chosen ones
    image = np.array(kept.volume()[row - seen.rows[0]])
    true = truth(seen, row)
    metrics: dict[str, float] = {}
    if true is not None:
        span = float(true.max() - true.min())
        metrics = {
            "PSNR": psnr(image, true, data_range=span),
            "SSIM": ssim(image, true, data_range=span),
            "relative error": relative_error(image, true),
        }
    return Shown(
        index=k,
        row=row,
        image=image,
        sinogram=seen.scan.projections[:, k],
        prediction=seen.A(torch.from_numpy(image)).numpy() if row == looked else None,
        std=float(line_integral_std(seen.scan)[0][k]),
        truth=true,
        metrics=metrics,
    )
