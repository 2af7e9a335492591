"""report.html: one page on how a result came about, without anything from outside the file."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from invreg.checkpoint import Checkpoint
from invreg.operators.tomography import fbp
from invreg.prepare import Survey
from invreg.progress import Clock
from invreg.report.figures import chart, png, shrunk, window
from invreg.report.html import document, facts, figure, section, text, timings
from invreg.report.provenance import machine, versions

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

Array = npt.NDArray[Any]
LARGE, SMALL = 900, 420  # pixels on a side above which pictures are averaged down


@dataclass(frozen=True)
class Shown:
    """The row that the report shows. index: into the rows looked at. row: its number in the file.

    image, truth: (h, w) in attenuation per length. sinogram, prediction: (angle, detector) line integrals of the row
    looked at; no prediction where the image is another slice of a cone beam. std: standard deviation of their noise.
    metrics: of the image against the truth.
    """

    index: int
    row: int
    image: Array
    sinogram: Array
    prediction: Array | None
    std: float
    truth: Array | None
    metrics: dict[str, float]


def page(
    config: "Config",
    seen: Survey,
    kept: Checkpoint,
    clock: Clock,
    shown: Shown,
    *,
    code: int,
    words: str,
    warnings: list[str],
    recipe: str,
) -> str:
    """The whole page as a string."""
    parts = [
        _reconstruction(seen, shown),
        _measurement(seen, shown, warnings),
        _corrections(seen),
        _axis(seen, shown),
        _weight(kept, seen),
        _misfit(kept),
        _convergence(kept),
        _residual(seen, shown),
    ]
    parts.append(_provenance(config, seen, kept, clock, recipe))
    return document(
        title=seen.path.name,
        verdict=words,
        tone={0: "good", 1: "bad"}.get(code, "warn"),
        figures=_headline(config, seen, kept, shown),
        body="".join(parts),
    )


def _headline(config: "Config", seen: Survey, kept: Checkpoint, shown: Shown) -> list[tuple[str, str]]:
    """The figures that come first: (value with unit, what it is)."""
    h, w = seen.A.domain.shape
    g, weight = seen.geometry, kept.state.get("weight")
    gaps = [b["gap"] for b in kept.batches if b["gap"] is not None]
    out = [
        (config.recipe, "recipe"),
        (f"{kept.done - seen.rows[0]} × {h} × {w}", "rows × height × width"),
        (f"{g.angles.size} of {seen.header.projections.shape[0]}", "views"),
        (f"{seen.A.pixel_size:.4g} {g.unit}", "size of a pixel"),
    ]
    out += [(f"{seen.thickness:.4g} {g.unit}", "thickness of a slice")] if seen.thickness is not None else []
    out += [(f"{weight['value']:.3g}", "weight λ")] if weight else []
    out += [(f"{max(gaps):.1e}", "gap, at most")] if gaps else []
    if shown.metrics:
        out += [(f"{shown.metrics['PSNR']:.1f} dB", "PSNR"), (f"{shown.metrics['SSIM']:.3f}", "SSIM")]
    return out


def _reconstruction(seen: Survey, shown: Shown) -> str:
    unit, extent = seen.geometry.unit, seen.A.pixel_size * shown.image.shape[1]
    low, high = window(shown.image if shown.truth is None else shown.truth)
    scale = {"bar": (low, high, f"1/{unit}"), "extent": (extent, unit)}
    out = figure(png(shrunk(shown.image, LARGE), low, high), f"Row {shown.row}, attenuation", **scale)
    if shown.truth is None:
        table = [
            ("row", f"{shown.row}, of {seen.rows[0]}:{seen.rows[1]}"),
            ("side of the image", f"{extent:.4g} {unit}"),
            ("values", f"{shown.image.min():.3g} to {shown.image.max():.3g} 1/{unit}"),
            ("shown", f"{low:.3g} (black) to {high:.3g} (white)"),
            ("axis of rotation", f"bin {seen.axis:.2f}"),
        ]
        return section("Reconstruction", f'<div class="main">{out}{facts(table)}</div>')
    out += figure(png(shrunk(shown.truth, LARGE), low, high), "The truth that comes with the measurement", **scale)
    difference = shown.image - shown.truth
    top = max(abs(v) for v in window(difference, 1, 99)) or 1.0
    out += figure(
        png(shrunk(difference, LARGE), -top, top, colours="RdBu_r"),
        "Reconstruction minus truth",
        bar=(-top, top, f"1/{unit}"),
        colours=True,
    )
    return section("Reconstruction", f'<div class="row">{out}</div>', _against(shown))


def _against(shown: Shown) -> str:
    told = ", ".join(f"{name} {value:.4g}{' dB' * (name == 'PSNR')}" for name, value in shown.metrics.items())
    assert shown.truth is not None
    span = float(shown.truth.max() - shown.truth.min())
    return f"Against the truth, over the whole image and with its range of values {span:.4g} as full scale: {told}."


def _measurement(seen: Survey, shown: Shown, warnings: list[str]) -> str:
    raw, g = seen.raw.projections[:, shown.index], seen.geometry
    out = ""
    if not np.array_equal(raw, shown.sinogram):
        low, high = window(raw)
        out = figure(png(shrunk(raw, LARGE), low, high), f"As stored: {seen.raw.kind}", bar=(low, high, ""), wide=True)
    low, high = window(shown.sinogram)
    out += figure(
        png(shrunk(shown.sinogram, LARGE), low, high), "Line integrals, corrected", bar=(low, high, ""), wide=True
    )
    turn = np.degrees(np.sort(g.angles))
    table = [
        ("file", str(seen.path)),
        ("format", seen.header.format),
        ("projections", f"{seen.header.projections.shape} as (angle, row, detector), {seen.raw.kind}"),
        ("rows", f"{seen.rows[0]}:{seen.rows[1]} of {seen.header.projections.shape[1]}"),
        ("views", f"{turn.size}, from {turn[0]:.4g}° to {turn[-1]:.4g}°, largest step {_step(turn):.3g}°"),
        ("detector", f"{g.detectors} bins of {g.pitch:.4g} {g.unit}"),
        ("noise", seen.noise),
        ("missing in the file", ", ".join(seen.header.missing) or "nothing"),
    ]
    notes = "".join(f'<p class="note">{text(w)}</p>' for w in warnings)
    lead = "Views run down, detector bins across."
    return section("Measurement", f'{notes}<div class="row">{out}</div>{facts(table)}', lead)


def _step(turn: Array) -> float:
    return float(np.diff(turn).max()) if turn.size > 1 else 0.0


def _corrections(seen: Survey) -> str:
    lead = "What was done to the values, in this order, and where each part came from."
    return section("Corrections", facts(list(seen.scan.sources.items())), lead)


def _axis(seen: Survey, shown: Shown) -> str:
    """Three candidates of the rotation axis, close up."""
    g = seen.geometry
    assert g.centre is not None
    step = max(1.0, round(g.detectors / 200))
    sinogram = torch.from_numpy(np.ascontiguousarray(shown.sinogram))
    tried = []
    for centre in (g.centre - step, g.centre, g.centre + step):
        moved = replace(g, centre=centre)
        tried.append((centre, fbp(sinogram, moved, (g.detectors, g.detectors), filter="hann").numpy()))
    middle = tried[1][1]
    part = _close_up(middle)
    low, high = window(middle[part])
    out = "".join(
        figure(
            png(shrunk(image[part], SMALL), low, high), f"axis at bin {centre:.2f}" + " (used)" * (centre == g.centre)
        )
        for centre, image in tried
    )
    lead = (
        "Where the rotation axis falls on the detector, tried in three places by filtered back-projection. With the "
        "right one edges are sharp and single; with a wrong one they double and points turn into arcs. Another can be "
        "set with --centre."
    )
    return section("Rotation axis", f'<div class="row">{out}</div>', lead)


def _close_up(image: Array) -> tuple[slice, slice]:
    """The square of half the image's side about what is bright in it."""
    n = image.shape[0]
    bright = np.argwhere(image > 0.5 * window(image)[1])
    middle = bright.mean(0) if len(bright) else np.array([n / 2, n / 2])
    top, left = np.clip(np.round(middle).astype(int) - n // 4, 0, n - n // 2)
    return slice(top, top + n // 2), slice(left, left + n // 2)


def _weight(kept: Checkpoint, seen: Survey) -> str:
    weight = kept.state.get("weight")
    if weight is None:
        return ""
    out = ""
    if len(weight["trials"]) > 1:
        trials = sorted(weight["trials"], key=lambda t: t["weight"])
        x, y = (np.array([t[key] for t in trials]) for key in ("weight", "residual"))
        near = int(np.argmin(np.abs(np.log(x / weight["value"]))))
        target = {"target": trials[0]["target"]} if trials[0].get("target") is not None else {}
        svg = chart(
            [("residual", x, y)],
            x="weight λ",
            y="root mean square of Ax − y",
            log="xy",
            lines=target,
            mark=(weight["value"], float(y[near])),
            points=True,
        )
        out += f'<div class="chart">{svg}</div>'
    stored = kept.folder / "neighbours.npz"
    if stored.exists():
        with np.load(stored) as file:
            pairs = sorted(zip(file["weights"].tolist(), file["images"], strict=True), key=lambda p: p[0])
        middle = min(pairs, key=lambda p: abs(np.log(p[0] / weight["value"])))
        part = _close_up(middle[1])
        low, high = window(middle[1][part])
        images = "".join(
            figure(
                png(shrunk(image[part], SMALL), low, high), f"λ = {value:.3g}" + " (used)" * (value == weight["value"])
            )
            for value, image in pairs
        )
        out += f'<div class="row">{images}</div>'
    lead = (
        f"λ = {weight['value']:.4g}: {weight['reason']}. The pictures are close-ups at this and at neighbouring "
        "weights: a smaller one keeps more detail and more noise."
    )
    return section("Weight of the prior", out, lead)


def _misfit(kept: Checkpoint) -> str:
    order = kept.state.get("misfit")
    if order is None:
        return ""
    table = [("order s of the Sobolev misfit", f"{order['s']:.3g}"), ("why", order["reason"])]
    return section("Misfit along the detector", facts(table))


def _convergence(kept: Checkpoint) -> str:
    """Gap and objective over the iterations of the first batch's last stage, and a line on each other batch."""
    history = kept.batches[0]["history"]
    stage = history[-1].get("stage") if history else None
    rows = [r for r in history if r.get("stage") == stage]
    out = ""
    for name, label in (
        ("gap", "gap, relative to the objective"),
        ("objective", "objective"),
        ("residual", "residual, times the noise"),
        ("change", "change, relative to the image"),
    ):
        points = [(r["iter"], r[name]) for r in rows if name in r and np.isfinite(r[name]) and r[name] > 0]
        if len(points) > 1:
            x, y = np.array(points).T
            log = "y" if y.max() > 10 * y.min() else ""
            out += f'<div class="chart">{chart([(name, x, y)], x="iteration", y=label, log=log)}</div>'
    table = [(f"rows {b['first']}:{b['end']}", b["summary"]) for b in kept.batches]
    lead = (
        "The gap bounds how far the objective is from its minimum: below the tolerance the image is the solution of "
        "the stated problem, not a stage on the way there."
    )
    return section(
        "Convergence", f'<div class="row">{out}</div>{facts(table)}', lead if any("gap" in r for r in rows) else ""
    )


def _residual(seen: Survey, shown: Shown) -> str:
    if shown.prediction is None:
        return ""
    residual = shown.prediction - shown.sinogram
    rms = float(np.sqrt(np.mean(residual**2)))
    top = 3 * (shown.std or rms) or 1.0
    picture = png(shrunk(residual, LARGE), -top, top, colours="RdBu_r")
    out = figure(picture, f"Row {shown.row}", bar=(-top, top, ""), colours=True, wide=True)
    against = f", {rms / shown.std:.2f} times the noise of {shown.std:.3g}" if shown.std > 0 else ""
    lead = (
        f"Projected reconstruction minus line integrals: {rms:.3g} root mean square{against}. Where the model holds "
        "this looks like noise; stripes, edges or a drift are what the model does not explain."
    )
    return section("Residual", f'<div class="one">{out}</div>', lead)


def _provenance(config: "Config", seen: Survey, kept: Checkpoint, clock: Clock, recipe: str) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in versions().items())
    table = [
        ("machine", machine(config.compute.device)),
        ("versions", packages),
        ("fingerprint of the measurement", kept.state["fingerprint"]),
        ("rows at once", str(kept.state["batch"])),
    ]
    body = f"{timings(clock.so_far())}{facts(table)}<pre>{text(recipe)}</pre>"
    return section("Settings, versions, time", body, "recipe.toml, beside this page, gives this run again.")
