"""invreg prior inspect: what a learned prior finds likely."""

import argparse
from pathlib import Path

from invreg.verbs.base import Usage, Verb, overrides

# flag: (setting, metavar, help)
SETTINGS = {
    "--data": ("data.folder", "FOLDER", "images to look at, of the kind that the network was trained on"),
    "--device": ("train.device", "NAME", "cpu or cuda (default cpu)"),
}


def flags(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("action", nargs="?", metavar="inspect", help="inspect: draw R over noise, blur and mixtures")
    verb.add_argument(
        "weights",
        nargs="?",
        metavar="WEIGHTS",
        help="a network: a file of invreg train lpn, or a name",
    )
    for flag, (_, metavar, told) in SETTINGS.items():
        verb.add_argument(flag, metavar=metavar, help=told)
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="data.window, data.percentiles")
    verb.add_argument("--out", metavar="DIR", help="folder of the results (default WEIGHTS_prior)")
    verb.add_argument("--force", action="store_true", help="replace results that are there")
    verb.add_argument("--quiet", action="store_true", help="no progress")
    verb.epilog = "example:\n  invreg prior inspect net/model.safetensors --data images --out net/prior"


def run(args: argparse.Namespace, started: float) -> int:
    if args.action != "inspect" or args.weights is None:
        given = " ".join(word for word in (args.action, args.weights) if word)
        raise Usage(f"prior {given}".rstrip() + ": expected invreg prior inspect WEIGHTS; see invreg prior --help")
    from dataclasses import asdict

    from invreg.inspect_prior import FILES, inspect_file

    out = Path(args.out or f"{Path(args.weights).stem}_prior")
    over = overrides(args, SETTINGS, "data.window=[-1000,1000]")
    found = inspect_file(args.weights, over, out, force=args.force, quiet=args.quiet or args.json)
    if args.json:
        print((out / "prior.json").read_text())
        return 0
    if found is not None:
        print(f"{found.images} images of {found.side} x {found.side} pixels, " + "; ".join(found.notes))
        names = ("probe", "level", "R higher by", "in % of images", "failed", "residual")
        print("  ".join(f"{name:>14}" for name in names))
        for row in found.rows:
            told = [v if isinstance(v, str) else f"{v:.4g}" for v in asdict(row).values()]
            print("  ".join(f"{word:>14}" for word in told))
    print(f"{out}: {', '.join(FILES)}")
    return 0


VERB = Verb("what a learned prior finds likely: noise, blur and mixtures of images", flags, run)
