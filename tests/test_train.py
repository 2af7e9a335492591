"""The training loop on a problem of a few numbers: schedule, resuming, stopping, checkpoints."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from invreg.io import InputError
from invreg.recipes.config import flat
from invreg.train import checkpoints, schedule
from invreg.train.config import Config
from invreg.train.loop import precision, seed, train
from invreg.train.report import Progress
from invreg.train.tasks import Task


class Line(Task):
    """A linear network fits noisy values of a linear function; `at` is called with the number of each step."""

    notes: tuple[str, ...] = ("a line",)

    def __init__(self, at=lambda step: 1.0):
        self.at, self.steps, self.truth = at, 0, torch.linspace(-1, 1, 6)

    def model(self):
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))

    def batch(self, draws, device):
        x = torch.stack([torch.randn(6, generator=g) for g in draws])
        return x, (x @ self.truth)[:, None]

    def loss(self, model, batch, step):
        self.steps += 1
        return self.at(self.steps) * (model(batch[0]) - batch[1]).square().mean()

    def validate(self, model, device):
        x, y = self.batch([torch.Generator().manual_seed(k) for k in range(64)], device)
        return {"error": float((model(x) - y).square().mean().sqrt())}

    def examples(self, model, device):
        return [{"weights": model[0].weight.detach(), "truth": self.truth[None]}]


def config(**train):
    return Config.model_validate({"task": "svtv-weights", "train": {"steps": 30, "batch": 4, "every": 10, "warmup": 5,
                                  "precision": "float32", "rate": 1e-2, "average": 0.9} | train})  # fmt: skip


def run(out, task=None, **options):
    settings = options.pop("config", None) or config()
    return train(task or Line(), settings, out, quiet=True, **options)


def history(out):
    with (out / "history.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


def test_the_rate_rises_and_falls_as_half_a_cosine():
    rates = np.array([schedule.rate(k, 100, 10, 2.0) for k in range(101)])
    assert rates[:10] == pytest.approx(2 * np.arange(1, 11) / 11)
    assert rates[10] == 2 and rates[55] == pytest.approx(1) and rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[10:] == pytest.approx(1 + np.cos(np.pi * np.arange(91) / 90))
    assert schedule.rate(0, 1, 0, 3.0) == 3


def test_the_average_has_the_weights_of_its_closed_form():
    values = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mean = [torch.zeros(3, dtype=torch.float64)]
    for k in range(40):
        schedule.average(mean, [values[k]], schedule.decay(k, 0.5))
    kept = np.array([min(0.5, (1 + k) / (10 + k)) for k in range(40)])
    shares = (1 - kept) * np.append(np.cumprod(kept[::-1])[::-1][1:], 1)
    assert mean[0].numpy() == pytest.approx(shares @ values.numpy())


def test_the_steps_are_those_of_adamw_on_clipped_gradients(tmp_path):
    task, settings = Line(), config(steps=6, every=6, clip=0.3, decay=0.1)
    run(tmp_path / "out", config=settings)
    torch.manual_seed(0)
    model = task.model()
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
    for k, row in enumerate(history(tmp_path / "out")):
        loss = task.loss(model, task.batch([torch.Generator().manual_seed(seed(0, k, i)) for i in range(4)], "cpu"), k)
        optimiser.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
        assert row["loss"] == pytest.approx(loss.item(), rel=1e-5) and row["norm"] == pytest.approx(norm, rel=1e-5)
        for p in model.parameters():
            p.grad *= min(1, 0.3 / (norm + 1e-6))
        optimiser.param_groups[0]["lr"] = schedule.rate(k, 6, 5, 1e-2)
        optimiser.step()
    tensors, _ = checkpoints.read(tmp_path / "out" / "last.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(tensors[f"model.{name}"], value, rtol=1e-5, atol=1e-7)


def test_training_fits(tmp_path):
    done = run(tmp_path / "out", config=config(steps=400, every=100))
    rows = history(tmp_path / "out")
    assert done.code == 0 and done.steps == 400 and len(rows) == 400 and done.words == "trained for 400 steps"
    zero = float(torch.linalg.vector_norm(Line().truth))  # the error of a network that says 0
    assert done.figures["error"] == rows[-1]["error"] < 0.1 * zero and rows[0]["loss"] > 0.3 * zero**2
    assert {"model.safetensors", "last.safetensors", "history.csv", "curves.png", "examples.png", "config.toml"} == set(
        done.files
    )
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("after", [13, 20])
def test_a_resumed_run_gives_the_numbers_of_one_that_was_not_interrupted(tmp_path, after):
    def press(step):
        if step > after:
            raise KeyboardInterrupt
        return 1.0

    run(tmp_path / "whole")
    stopped = run(tmp_path / "parts", Line(press))
    saved = after // 10 * 10
    assert stopped.code == 3 and f"interrupted after step {after} of 30" in stopped.words
    assert f"from step {saved} with --resume" in stopped.words
    done = run(tmp_path / "parts", resume=True)
    assert done.code == 0 and history(tmp_path / "parts") == history(tmp_path / "whole")
    for name in ("last.safetensors", "model.safetensors"):
        (a, about), (b, _) = (checkpoints.read(tmp_path / out / name) for out in ("whole", "parts"))
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
        assert about["step"] == 30 and about["settings"]["train"]["rate"] == 1e-2


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path):
    done = run(tmp_path / "out", Line(lambda step: math.nan if step == 17 else 1.0))
    assert done.code == 1 and "stopped at step 17: its loss is nan" in done.words
    assert "the checkpoint of step 10 is kept" in done.words and "smaller train.rate" in done.words
    tensors, about = checkpoints.read(tmp_path / "out" / "last.safetensors")
    assert about["step"] == 10 and all(bool(t.isfinite().all()) for t in tensors.values())
    early = run(tmp_path / "early", Line(lambda step: math.inf))
    assert early.code == 1 and "step 1:" in early.words and "no checkpoint yet" in early.words


class Held(Line):
    """A line whose first weights are kept at 0 or above, and that gives up after some steps of a high loss."""

    def model(self):
        made = super().model()
        self.after_step(made)
        return made

    def after_step(self, model):
        with torch.no_grad():
            model[0].weight.clamp_(min=0)

    def hopeless(self, rows):
        return "it has no hope" if len(rows) >= 13 and all(row["loss"] > 1e-9 for row in rows[-13:]) else None


def test_a_task_is_called_after_each_step_and_can_end_the_training(tmp_path):
    done = run(tmp_path / "out", Held())
    assert done.code == 1 and done.words == "stopped at step 13: it has no hope; the checkpoint of step 10 is kept"
    tensors, _ = checkpoints.read(tmp_path / "out" / "last.safetensors")
    assert float(tensors["model.0.weight"].min()) == 0 and float(tensors["mean.0.weight"].min()) >= 0
    assert float(tensors["model.2.weight"].min()) < 0


def test_results_are_not_replaced_unless_told(tmp_path):
    run(tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    with pytest.raises(InputError, match=r"holds model.safetensors already; go on with --resume.*--force"):
        run(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    run(tmp_path / "out", config=config(seed=1), force=True)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != before


def test_only_the_same_run_is_resumed(tmp_path):
    with pytest.raises(InputError, match=r"no last\.safetensors to go on from"):
        run(tmp_path / "none", resume=True)
    run(tmp_path / "out", config=config())
    with pytest.raises(InputError, match=r"its run has train\.batch = 4, this one 8; resume with the same settings"):
        run(tmp_path / "out", config=config(batch=8), resume=True)
    history_file = tmp_path / "out" / "history.csv"
    kept = history_file.read_text()
    history_file.write_text("nothing\n1\n")
    with pytest.raises(InputError, match=r"history\.csv: missing or damaged"):
        run(tmp_path / "out", resume=True)
    history_file.write_text(kept)
    done = run(tmp_path / "out", resume=True)
    assert done.code == 0 and done.steps == 30 and len(history(tmp_path / "out")) == 30


def test_every_setting_is_in_the_written_file(tmp_path):
    import tomllib

    run(tmp_path / "out")
    written = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert flat(Config.model_validate(written)) == flat(config())


def test_progress_says_step_loss_and_figures(capsys):
    with Progress(10, quiet=False) as progress:
        progress({"step": 1, "rate": 1.0, "loss": 0.5, "norm": 1.0})
        progress({"step": 2, "rate": 1.0, "loss": 0.5, "norm": 1.0, "error": 0.125})
    told = capsys.readouterr().err
    assert "step 2 of 10  loss 0.5" in told and "left  error 0.125" in told


def test_bfloat16_is_used_where_it_is_asked_for():
    a = torch.ones(2, 2)
    for wanted, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        with precision(wanted, torch.device("cpu")):
            assert (a @ a).dtype == dtype


def test_checkpoints_that_are_none_are_refused(tmp_path):
    good, about = tmp_path / "good.safetensors", {"task": "svtv-weights", "holds": "network"}
    checkpoints.save(good, {"w": torch.arange(1000.0)}, about)
    tensors, told = checkpoints.read(good)
    assert torch.equal(tensors["w"], torch.arange(1000.0)) and told == about
    bad = tmp_path / "bad.safetensors"

    def refused(words):
        with pytest.raises(InputError, match=words) as caught:
            checkpoints.load_model(bad, "svtv-weights")
        assert str(caught.value).startswith(f"{bad}: ") and "\n" not in str(caught.value)

    refused("no such file")
    for size in (0, 5, 100, 3000):
        bad.write_bytes(good.read_bytes()[:size])
        refused("truncated")
    bad.write_bytes(b"\x89PNG" + bytes(1000))
    refused("no safetensors file")
    torch.save({"w": torch.zeros(3)}, bad)
    refused("a pickle")
    torch.save({"w": torch.zeros(3)}, bad, _use_new_zipfile_serialization=False)
    refused("a pickle")
    save_file({"w": torch.zeros(3)}, bad)
    refused("another program")
    save_file({"w": torch.zeros(3)}, bad, metadata={"invreg": json.dumps(about | {"task": "cae"})})
    refused("a network of cae; expected one of svtv-weights")
    checkpoints.save(bad, {"w": torch.zeros(3)}, about | {"holds": "run"})
    refused("take model.safetensors beside it")
    settings = {"data": {"channels": 1}, "model": {"widths": [4]}}
    checkpoints.save(bad, {"w": torch.zeros(3)}, about | {"settings": settings})
    refused("do not fit its settings")


def test_devices_and_batches_that_cannot_be(tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no GPU here"):
            run(tmp_path / "out", config=config(device="cuda"))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="batch=4 cannot be shared by 3 processes"):
        run(tmp_path / "out")
    assert not Path(tmp_path / "out").exists()
