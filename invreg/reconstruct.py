"""The main job: a measurement file in, a volume and its report out, batches of rows in between."""

import gc
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from invreg import checkpoint, plan, prepare
from invreg.checkpoint import Checkpoint
from invreg.io import InputError
from invreg.memory import keep_freed
from invreg.prepare import Survey
from invreg.progress import Clock, Progress
from invreg.recipes import RECIPES, Reconstruction
from invreg.report import RESULTS, write_results

if TYPE_CHECKING:  # pydantic comes with it
    from invreg.recipes.config import Config

TOL = 1e-3  # the gap at which recipes stop unless told otherwise; the progress bar needs to know
FREE = ("data.file", "compute.batch", "compute.memory")  # settings that a resumed run may change
BROKE_DOWN, NOT_CONVERGED = 1, 3  # exit codes


@dataclass(frozen=True)
class Outcome:
    """What a job left behind. code: 0 converged, 1 not a finite number, 3 stopped before it converged.

    rows: first and end of those written. weight, reason: lambda and why. misfit: the order s of a Sobolev misfit and
    the reason for it. metrics: against the truth, where the
    measurement carries one. seconds: wall time by part of the work.
    """

    code: int
    words: str
    out: str
    files: list[str]
    rows: tuple[int, int]
    weight: float | None
    reason: str | None
    misfit: dict[str, Any] | None
    gap: float | None
    centre: float
    metrics: dict[str, float]
    warnings: list[str]
    seconds: dict[str, float]


def reconstruct(
    config: "Config",
    out: Path,
    *,
    force: bool = False,
    resume: bool = False,
    clock: Clock | None = None,
    quiet: bool = False,
) -> Outcome:
    """Reconstruct the chosen rows of `config.data.file` into the folder `out`.

    force: replace what is there. resume: go on with a run that was killed. An interrupt (Ctrl-C) ends the work
    and writes what there is. Raises InputError for input, settings, disk or memory that will not do, and
    KeyboardInterrupt where there is nothing to write yet.
    """
    from invreg.recipes.config import flat

    clock = clock or Clock()
    keep_freed()
    if config.compute.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; invreg doctor says why, or use --device cpu")
    RECIPES[config.recipe].check(config)
    seen = prepare.survey(config, clock)
    plan.check_disk(out, plan.disk_bytes(seen.rows[1] - seen.rows[0], seen.A.domain.shape))
    config = _resolved(config, seen)
    kept = checkpoint.begin(
        out,
        RESULTS,
        settings={key: value for key, value in flat(config).items() if key not in FREE},
        source=seen.path,
        rows=seen.rows,
        shape=seen.A.domain.shape,
        force=force,
        resume=resume,
    )
    kept.state.setdefault("batch", config.compute.batch)  # a resumed run keeps the batches of the first
    clock.add(kept.state.get("seconds", {}))
    with clock("compile"):
        seen.A.adjoint(seen.A(torch.zeros(1, *seen.A.domain.shape, device=config.compute.device)))
    with Progress(seen.rows, config.solver.tol or TOL, quiet) as progress:
        if kept.batches:
            progress.say(f"going on at row {kept.done} of {seen.rows[0]}:{seen.rows[1]}")
        try:
            interrupted = _rows(config, seen, kept, progress, clock)
        except KeyboardInterrupt:
            if not kept.batches:
                raise
            interrupted = True
        if interrupted:
            progress.say("interrupted: writing what there is")
    return _finish(config, seen, kept, clock, interrupted)


def _resolved(config: "Config", seen: Survey) -> "Config":
    """The settings with what was found out filled in, so that they give this very run again.

    The weight stays "auto" where it was: it is chosen from the first batch in the course of solving that one.
    """
    views, detectors = seen.geometry.shape
    size = seen.A.domain.shape[0]
    n = seen.rows[1] - seen.rows[0]
    c = config.compute
    batch = c.batch or plan.batch_rows(config.recipe, views, detectors, size, c.device, c.memory, n)
    found = {
        "data": {"rows": f"{seen.rows[0]}:{seen.rows[1]}"},
        "correct": {"centre": seen.axis},
        "image": {"size": size},
        # a volume is worked on in parts inside a batch, for which the memory still counts
        "compute": {"batch": batch, "memory": c.memory if RECIPES[config.recipe].volume else None},
    }
    update = {key: getattr(config, key).model_copy(update=part) for key, part in found.items()}
    return config.model_copy(update=update)


def _rows(config: "Config", seen: Survey, kept: Checkpoint, progress: Progress, clock: Clock) -> bool:
    """Solve batch after batch, keeping each on disk; True where it was interrupted."""
    while kept.done < seen.rows[1]:
        first, end = kept.done, min(kept.done + kept.state["batch"], seen.rows[1])
        progress.rows_from(first, end)
        try:
            result, record = _batch(config, seen, kept, first, end, progress, clock)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            kept.state["batch"] = _halved(end - first, seen, progress)
            continue
        with clock("write"):
            if result.weight is not None and "weight" not in kept.state:
                _keep_weight(kept, result)
            if result.order is not None:
                kept.state.setdefault("misfit", asdict(result.order))
            if result.image_range is not None:
                kept.state.setdefault("range", list(result.image_range))
            kept.state["seconds"] = clock.so_far()
            kept.add(result.x.detach().cpu().numpy(), record)
        progress.rows_done()
        if result.status == "interrupted":
            return True
    return False


def _batch(
    config: "Config", seen: Survey, kept: Checkpoint, first: int, end: int, progress: Progress, clock: Clock
) -> tuple[Reconstruction, dict[str, Any]]:
    """The rows first to end, and what is to be remembered of them."""
    if "weight" in kept.state:  # one weight for all rows, so that slices can be compared
        prior = config.prior.model_copy(update={"weight": kept.state["weight"]["value"]})
        config = config.model_copy(update={"prior": prior})
    if "range" in kept.state:
        prior = config.prior.model_copy(update={"range": kept.state["range"]})
        config = config.model_copy(update={"prior": prior})
    if "misfit" in kept.state:
        order = config.misfit.model_copy(update={"s": kept.state["misfit"]["s"]})
        config = config.model_copy(update={"misfit": order})
    A, y, std, warnings = prepare.batch(config, seen, first, end, clock)
    with clock("solve"):
        result = RECIPES[config.recipe].run(A, y, config, std, progress)
    return result, {
        "first": first,
        "end": end,
        "status": result.status,
        "summary": result.summary,
        "gap": result.gap,
        "std": std.tolist(),
        "warnings": list(warnings),
        "history": result.history,
    }


def _out_of_memory(error: Exception) -> bool:
    """torch tells the lack of memory of a CPU by a RuntimeError."""
    told = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in told or "enough memory" in told
    )


def _halved(rows: int, seen: Survey, progress: Progress) -> int:
    """Half as many rows; raises InputError where a single one did not fit."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if rows == 1:
        h, w = seen.A.domain.shape
        raise InputError(
            f"{seen.path}: out of memory with a single row of {h} x {w} pixels from {seen.geometry.shape[0]} views; "
            "take a smaller --size, fewer --views or --set correct.bin=2"
        )
    progress.say(f"out of memory with {rows} rows at once; going on with {rows // 2}")
    return rows // 2


def _keep_weight(kept: Checkpoint, result: Reconstruction) -> None:
    weight = result.weight
    assert weight is not None
    kept.state["weight"] = {"value": weight.value, "reason": weight.reason, "trials": weight.trials}
    images = [image.detach().cpu().numpy() for _, image in weight.neighbours]
    if images:
        values = np.array([value for value, _ in weight.neighbours])
        np.savez(kept.folder / "neighbours.npz", weights=values, images=np.stack(images))


def _finish(config: "Config", seen: Survey, kept: Checkpoint, clock: Clock, interrupted: bool) -> Outcome:
    """Write all results, and say how it went."""
    code, words = verdict(kept.batches, seen.rows)
    noted = [*seen.warnings, *(w for b in kept.batches for w in b["warnings"])]
    warnings = list(dict.fromkeys(noted))
    c = config.compute.model_copy(update={"batch": kept.state["batch"]})
    config = config.model_copy(update={"compute": c})
    metrics = write_results(config, seen, kept, clock, code, words, warnings)
    weight = kept.state.get("weight")
    gaps = _gaps(kept.batches)
    rows = seen.rows[0], kept.done
    if interrupted and kept.batches[-1]["status"] == "interrupted":
        kept.state["batches"] = kept.batches[:-1]  # it is written, but not finished
        if not kept.batches:
            kept.state.pop("weight", None)  # its choice may not have ended either
            kept.state.pop("misfit", None)
            kept.state.pop("range", None)
        kept.save()
    kept.publish(RESULTS, keep=interrupted)
    return Outcome(
        code=code,
        words=words,
        out=str(kept.out),
        files=list(RESULTS),
        rows=rows,
        weight=weight and weight["value"],
        reason=weight and weight["reason"],
        misfit=kept.state.get("misfit"),
        gap=max(gaps, default=None),
        centre=seen.axis,
        metrics=metrics,
        warnings=warnings,
        seconds=clock.seconds,
    )


def _gaps(batches: list[dict[str, Any]]) -> list[float]:
    """The gaps reached; some recipes have none, and one that was interrupted at once does not know it."""
    return [b["gap"] for b in batches if b["gap"] is not None and math.isfinite(b["gap"])]


def verdict(batches: list[dict[str, Any]], rows: tuple[int, int]) -> tuple[int, str]:
    """The exit code and one sentence on how all batches ended."""
    end = batches[-1]["end"]
    bad = [b for b in batches if b["status"] != "converged"]
    code = BROKE_DOWN if any(b["status"] == "nonfinite" for b in bad) else NOT_CONVERGED if bad else 0
    gaps = _gaps(batches)
    reached = f", gap at most {max(gaps):.1e}" if gaps else ""
    if len(batches) == 1:
        words = batches[0]["summary"]
    elif not bad:
        words = f"converged: all rows {rows[0]}:{end}{reached}"
    else:
        parts = "; ".join(f"rows {b['first']}:{b['end']} {b['summary']}" for b in bad[:3])
        more = f"; and {len(bad) - 3} more batches" if len(bad) > 3 else ""
        words = f"{len(bad)} of {len(batches)} batches did not converge{reached}: {parts}{more}"
    if end < rows[1]:
        code = code or NOT_CONVERGED
        words += f"; interrupted after rows {rows[0]}:{end} of {rows[0]}:{rows[1]}, go on with --resume"
    elif bad and bad[-1]["status"] == "interrupted":
        words += "; go on with --resume"
    return code, words
