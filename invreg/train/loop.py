"""The training loop of every learned prior, on one process or on several that torchrun started."""

import copy
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invreg.io import InputError
from invreg.io.writing import replaced
from invreg.recipes.config import dump, flat
from invreg.train import checkpoints, schedule
from invreg.train.config import Config, Training
from invreg.train.processes import Processes
from invreg.train.report import Progress, Report, Row, read_history
from invreg.train.tasks import Task

RESULTS = ("model.safetensors", "history.csv", "curves.png", "examples.png", "config.toml")
LAST = "last.safetensors"
FREE = ("data.folder", "data.cache", "train.device")  # settings that a resumed run may change
LOOK = 20  # steps after which losses are fetched from the device, which makes it wait
DONE, BROKE_DOWN, NOT_FINISHED = 0, 1, 3  # exit codes


@dataclass(frozen=True)
class Trained:
    """How a training ended: exit code, in words, the steps done and the figures of the last validation."""

    code: int
    words: str
    steps: int
    figures: dict[str, float]
    out: str
    files: list[str]


@dataclass
class _Run:
    """What changes from step to step."""

    model: nn.Module
    mean: nn.Module
    optimiser: torch.optim.AdamW
    step: int
    rows: list[Row]


class Stopped(Exception):
    """Training cannot go on: a loss or gradient is no finite number, or the task says why not."""


def train(
    task: Task, config: Config, out: Path, *, force: bool = False, resume: bool = False, quiet: bool = False
) -> Trained:
    """Train the network of a task and write it, its curves and its checkpoints into the folder `out`.

    AdamW with linear warm-up and half a cosine, gradients clipped by their norm, the network for use being the
    exponential moving average of the weights. All that is random at a step follows from the seed, the step and the
    number of the item, so a resumed run gives the same numbers as one that was not interrupted, and several processes
    those of one. force: replace what is there. resume: go on with the last checkpoint. Raises InputError for settings,
    a device or a folder that will not do.
    """
    with Processes(config.train.device, config.train.batch) as processes:
        run = _resumed(task, config, out, processes.device) if resume else _started(task, config, out, force, processes)
        processes.wait()
        if processes.first and not resume:
            out.mkdir(parents=True, exist_ok=True)
            with replaced(out / "config.toml") as part:
                part.write_text(dump(config, {}, "The settings of this network, as invreg train took them."))
        report = Report(out, processes.first, len(run.rows))
        with Progress(config.train.steps, quiet or not processes.first) as progress:
            for note in task.notes:
                progress.say(note)
            if resume:
                progress.say(f"going on after step {run.step} of {config.train.steps}")
            return _steps(task, config, out, run, processes, report, progress)


def _steps(
    task: Task, config: Config, out: Path, run: _Run, processes: Processes, report: Report, progress: Progress
) -> Trained:
    t, saved = config.train, run.step
    model = processes.wrapped(run.model)
    pending: list[tuple[Row, Tensor]] = []
    code, words = DONE, ""
    try:
        while run.step < t.steps:
            row = {"step": run.step + 1, "rate": schedule.rate(run.step, t.steps, t.warmup, t.rate)}
            pending.append((row, _step(task, t, run, model, row["rate"], processes)))
            run.step += 1
            at_end = run.step % t.every == 0 or run.step == t.steps
            if at_end or len(pending) == LOOK or processes.device.type == "cpu":
                run.rows += _fetched(pending, processes)
                pending = []
                progress(run.rows[-1])
                if why := task.hopeless(run.rows):
                    raise Stopped(f"stopped at step {run.step}: {why}")
            if at_end:
                with torch.no_grad():
                    run.rows[-1] |= task.validate(run.mean, processes.device) if processes.first else {}
                report.write(run.rows)  # first, as a resumed run goes on from its rows
                if processes.first:
                    _save(config, out, run)
                saved = run.step
                progress(run.rows[-1])
                processes.wait()
    except Stopped as stop:
        kept = f"the checkpoint of step {saved} is kept" if saved else "there is no checkpoint yet"
        code, words = BROKE_DOWN, f"{stop}; {kept}"
    except KeyboardInterrupt:
        code = NOT_FINISHED
        kept = f"go on from step {saved} with --resume" if saved else "nothing was saved yet"
        words = f"interrupted after step {run.step} of {t.steps}; {kept}"
    figures = next((_figures(row) for row in reversed(run.rows) if _figures(row)), {})
    if code == DONE:
        words = f"trained for {run.step} steps"
    if processes.first and saved and code != BROKE_DOWN:  # whose weights are spoilt
        with torch.no_grad():
            report.examples(task.examples(run.mean, processes.device))
    files = [name for name in (*RESULTS, LAST) if (out / name).exists()]
    return Trained(code, words, run.step, figures, str(out), files)


def _step(task: Task, t: Training, run: _Run, model: nn.Module, rate: float, processes: Processes) -> Tensor:
    """One step of the optimiser; (loss, norm of the gradient), on the device."""
    draws = [torch.Generator().manual_seed(seed(t.seed, run.step, item)) for item in processes.share(t.batch)]
    with torch.no_grad():
        batch = task.batch(draws, processes.device)
    with precision(t.precision, processes.device):
        loss = task.loss(model, batch, run.step)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), t.clip)
    run.optimiser.step()
    task.after_step(run.model)
    schedule.average(run.mean.parameters(), run.model.parameters(), schedule.decay(run.step, t.average))
    for kept, now in zip(run.mean.buffers(), run.model.buffers(), strict=True):
        kept.copy_(now)
    return torch.stack([loss.detach().float(), norm.float()])


def _fetched(pending: list[tuple[Row, Tensor]], processes: Processes) -> list[Row]:
    """The rows with their losses, means over the processes. Raises Stopped for the first that has none."""
    values = processes.mean(torch.stack([value for _, value in pending])).tolist()
    rows = []
    for (row, _), (loss, norm) in zip(pending, values, strict=True):
        rows.append({**row, "loss": loss, "norm": norm})
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Stopped(
                f"stopped at step {row['step']:.0f}: its loss is {loss:g} and its gradient's norm {norm:g}; "
                "try a smaller train.rate"
            )
    return rows


def seed(base: int, step: int, item: int) -> int:
    """A seed of its own for every item of every step (or validation, step -1)."""
    return (base * 0x9E3779B97F4A7C15 + (step + 1) * 0xBF58476D1CE4E5B9 + item * 0x94D049BB133111EB) % 2**63


@contextmanager
def precision(wanted: str, device: torch.device) -> Iterator[None]:
    """Autocast to bfloat16 where it is wanted, or with "auto" where the device computes in it."""
    if wanted == "auto":
        if device.type == "cuda":
            half = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every torch that will do
            half = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    else:
        half = wanted == "bfloat16"
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        yield


def _started(task: Task, config: Config, out: Path, force: bool, processes: Processes) -> _Run:
    """A new run. Raises InputError where `out` holds one already."""
    present = [name for name in (*RESULTS, LAST) if (out / name).exists()]
    if present and not force:
        way = "go on with --resume, " if LAST in present else ""
        raise InputError(f"{out}: holds {present[0]} already; {way}choose another --out or replace it with --force")
    processes.wait()
    if processes.first:
        for name in present:
            (out / name).unlink()
        shutil.rmtree(out / "tensorboard", ignore_errors=True)
    return _fresh(task, config, processes.device)


def _fresh(task: Task, config: Config, device: torch.device) -> _Run:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        model = task.model()
    model = model.to(device, memory_format=torch.channels_last)
    mean = copy.deepcopy(model).requires_grad_(False)
    t = config.train
    return _Run(model, mean, torch.optim.AdamW(model.parameters(), t.rate, weight_decay=t.decay), 0, [])


def _resumed(task: Task, config: Config, out: Path, device: torch.device) -> _Run:
    """The run of the last checkpoint. Raises InputError where there is none, or one of other settings."""
    path = out / LAST
    if not path.exists():
        raise InputError(f"{out}: there is no {LAST} to go on from; start without --resume")
    tensors, about = checkpoints.read(path)
    if about.get("holds") != "run":
        raise InputError(f"{path}: holds {about.get('holds', 'something else')}, not a run to go on from")
    before, now = type(config).model_validate(about["settings"]), flat(config)
    for key, value in flat(before).items():
        if key not in FREE and now[key] != value:
            raise InputError(
                f"{out}: its run has {key} = {value}, this one {now[key]}; resume with the same settings, "
                "choose another --out or start anew with --force"
            )
    run = _fresh(task, config, device)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "mean": {}, "optimiser": {}}
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    run.model.load_state_dict(parts["model"])
    run.mean.load_state_dict(parts["mean"])
    checkpoints.restore(run.optimiser, parts["optimiser"])
    run.step = about["step"]
    run.rows = read_history(out / "history.csv", run.step)
    return run


def _save(config: Config, out: Path, run: _Run) -> None:
    """The network for use, and all that a resumed run needs."""
    about: dict[str, Any] = {"task": config.task, "settings": config.model_dump(by_alias=True), "step": run.step}
    network = about | {"holds": "network", "figures": _figures(run.rows[-1])}
    checkpoints.save_model(out / "model.safetensors", run.mean, network)
    parts = {
        "model": run.model.state_dict(),
        "mean": run.mean.state_dict(),
        "optimiser": checkpoints.flattened(run.optimiser),
    }
    tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
    checkpoints.save(out / LAST, tensors, about | {"holds": "run"})


def _figures(row: Row) -> dict[str, float]:
    """What the validation said."""
    return {key: value for key, value in row.items() if key not in ("step", "rate", "loss", "norm")}
