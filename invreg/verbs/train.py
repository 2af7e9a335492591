"""invreg train: a learned prior from a folder of images."""

import argparse
import json
from pathlib import Path

from invreg.train import TASKS
from invreg.verbs.base import Usage, Verb, overrides

# flag: (setting, metavar, help)
SETTINGS = {
    "--alpha": (
        "weights.alpha",
        "X",
        "of svtv-weights: loss of the image (1) or only of its gradient (0), default 0.5",
    ),
    "--sigma": (
        "noise.sigma",
        "X",
        "of lpn and denoiser: standard deviation of the noise to remove, images being 0 to 1",
    ),
    "--patch": ("noise.patch", "N", "of lpn and denoiser: pixels on a side of a training patch (default 64)"),
    "--steps": ("train.steps", "N", "steps of the training (default 20000)"),
    "--device": ("train.device", "NAME", "cpu or cuda (default cpu)"),
}


def flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("task", nargs="?", metavar="TASK", help="what to train, see below")
    verb.add_argument("--data", metavar="FOLDER", help="the training images, in this folder and its subfolders")
    for flag, (_, metavar, told) in SETTINGS.items():
        verb.add_argument(flag, metavar=metavar, help=told)
    verb.add_argument("--geometry", metavar="FILE", help="the scans to simulate, in TOML (docs/training.md)")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting (docs/training.md)")
    verb.add_argument("--out", metavar="DIR", help="folder of the results (default TASK_invreg)")
    verb.add_argument("--force", action="store_true", help="replace results that are there")
    verb.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    verb.add_argument("--quiet", action="store_true", help="no progress")
    verb.epilog = (
        "tasks:\n" + "".join(f"  {name:14} {summary}\n" for name, (_, summary) in TASKS.items()) + "\nexample:\n"
        "  invreg train svtv-weights --data images --geometry scan.toml --set model.widths=[16,32,64] --out net\n"
        "  invreg train lpn --data photos --sigma 0.05 --out prior\n"
        "several processes: torchrun --nproc-per-node 4 -m invreg train ..."
    )


def run(args: argparse.Namespace, started: float) -> int:
    if args.task is None:
        raise Usage(f"say what to train: {', '.join(TASKS)}; see invreg train --help")
    from dataclasses import asdict

    from invreg.train.loop import train
    from invreg.train.tasks import configured, find

    over = overrides(args, SETTINGS, "train.batch=8")
    if args.data is not None:
        over["data.folder"] = "--data", args.data
    config = configured(args.task, None if args.geometry is None else Path(args.geometry), over)
    out = Path(args.out or f"{args.task}_invreg")
    task = find(args.task).make(config)
    done = train(task, config, out, force=args.force, resume=args.resume, quiet=args.quiet or args.json)
    if args.json:
        print(json.dumps(asdict(done)))
        return done.code
    print(f"{args.task}: {done.words}")
    if done.figures:
        print("validation: " + ", ".join(f"{name} {figure:.4g}" for name, figure in done.figures.items()))
    print(f"{out}: {', '.join(done.files)}")
    return done.code


VERB = Verb("a learned prior from a folder of images", flags, run)
