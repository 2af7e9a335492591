"""invreg reconstruct: from a measurement file to a volume and its report."""

import argparse
import json
import time
from pathlib import Path

from invreg.verbs.base import Verb, measurement_flags, with_flags
from invreg.verbs.base import config as settings


def flags(verb: argparse.ArgumentParser) -> None:
    measurement_flags(verb)
    verb.add_argument("--out", metavar="DIR", help="folder of the results (default FILE_invreg)")
    verb.add_argument("--force", action="store_true", help="replace results that are there")
    verb.add_argument("--resume", action="store_true", help="go on with a run that was killed")
    verb.add_argument("--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace, started: float) -> int:
    from dataclasses import asdict

    from invreg.progress import Clock
    from invreg.reconstruct import reconstruct

    config = settings(args)
    clock = Clock()
    clock.add({"import": time.perf_counter() - started})
    file = Path(config.data.file)
    out = Path(args.out) if args.out else file.with_name(f"{file.stem}_invreg")
    done = reconstruct(config, out, force=args.force, resume=args.resume, clock=clock, quiet=args.quiet or args.json)
    if args.json:
        print(json.dumps(asdict(done)))
        return done.code
    print(f"{file.name}, {config.recipe}: {done.words}")
    if done.weight is not None:
        print(f"lambda {done.weight:.4g}: {done.reason}")
    if done.misfit is not None:
        print(f"misfit sobolev, s {done.misfit['s']:.3g}: {done.misfit['reason']}")
    if done.metrics:
        print("against the truth: " + ", ".join(f"{name} {value:.4g}" for name, value in done.metrics.items()))
    for warning in done.warnings:
        print(f"note: {with_flags(warning)}")
    print(f"{clock}")
    print(f"{out}: {', '.join(done.files)}")
    return done.code


VERB = Verb("from a measurement file to a volume and its report", flags, run)
