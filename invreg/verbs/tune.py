"""invreg tune: the weight of a recipe's prior, by a rule or learned."""

import argparse
import json
from pathlib import Path

from invreg.verbs.base import Usage, Verb, measurement_flags
from invreg.verbs.base import config as settings

METHODS = ("discrepancy", "gcv", "sure", "lcurve", "maid")


def flags(verb: argparse.ArgumentParser) -> None:
    measurement_flags(verb, files="*")
    verb.add_argument(
        "--method",
        default="discrepancy",
        metavar="NAME",
        help="discrepancy (default), gcv, sure, lcurve, or maid, which learns from files with their truth",
    )
    verb.add_argument("--out", metavar="FILE", help="write a recipe.toml with the weight, for reconstruct --recipe")
    verb.add_argument("--force", action="store_true", help="replace a recipe that is there")


def run(args: argparse.Namespace, started: float) -> int:
    from dataclasses import asdict

    from invreg import tune

    if not args.file:
        raise Usage("no FILE given; name the measurements: invreg tune FILE ...")
    if args.method not in METHODS:
        raise Usage(f"--method {args.method}: there is no such method; known are {', '.join(METHODS)}")
    configs = [settings(argparse.Namespace(**vars(args) | {"file": file})) for file in args.file]
    out = Path(args.out) if args.out else None
    if out is not None:
        tune.check_out(out, args.force)
    found = tune.tune(configs, args.method)
    written = None if out is None else tune.write_recipe(out, configs[0], found, args.method, force=args.force)
    if args.json:
        told = {"method": args.method, "recipe": configs[0].recipe, "files": [asdict(t) for t in found]}
        print(json.dumps(told | {"out": args.out, "lambda": written}))
        return 0
    for one in found:
        print(f"{one.file}, row {one.row}: lambda {one.weight:.4g}: {one.reason}")
        if args.method != "maid" or one is found[-1]:
            print("\n".join("  " + "  ".join(f"{key} {value:.4g}" for key, value in t.items()) for t in one.trials))
    if out is not None:
        print(f"{out}: lambda {written:.4g}; next: invreg reconstruct FILE --recipe {out}")
    return 0


VERB = Verb("the weight of a recipe's prior, by a rule or learned from files with their truth", flags, run)
