"""invreg simulate: from an image to a measurement file, to try a method where the truth is known."""

import argparse
import json
from pathlib import Path

from invreg.verbs.base import Usage, Verb


def flags(verb: argparse.ArgumentParser) -> None:
    from invreg.simulations import listing

    verb.add_argument("file", nargs="?", metavar="IMAGE", help="an image or a volume, a file or a DICOM folder")
    verb.add_argument("--operator", nargs="+", metavar=("NAME", "KEY=VALUE"), help="what measures, see below")
    verb.add_argument("--noise", nargs="+", default=["none"], metavar=("NAME", "KEY=VALUE"), help="see below")
    verb.add_argument("--out", metavar="FILE", help="the measurement file, HDF5 (.h5)")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="of the noise (default 0)")
    verb.add_argument(
        "--rows", metavar="A:B", help="the slices of a volume from A to B, counted from 0, B not included"
    )
    verb.add_argument("--keep-truth", action="store_true", help="store the image too, to compare with")
    verb.add_argument("--force", action="store_true", help="replace a file that is there")
    verb.epilog = (
        "examples:\n"
        "  invreg simulate photo.png --operator parallel views=90 --noise poisson --keep-truth --out scan.h5\n"
        "  invreg reconstruct scan.h5\n"
        "  invreg simulate photo.png --operator blur psf=motion length=15 --noise gaussian --out blurred.h5\n\n"
    ) + listing()


def run(args: argparse.Namespace, started: float) -> int:
    words = {}
    for flag in ("operator", "noise"):  # IMAGE may stand after the parameters
        name, *pairs = getattr(args, flag) or [""]
        words[flag] = [name, *(pair for pair in pairs if "=" in pair)]
        for stray in (pair for pair in pairs if "=" not in pair):
            if args.file is not None:
                raise Usage(f"--{flag} {name}: {stray} is no KEY=VALUE; see invreg simulate --help")
            args.file = stray
    for what, given in (("IMAGE", args.file), ("--operator", args.operator), ("--out", args.out)):
        if given is None:
            raise Usage(f"no {what} given; see invreg simulate --help")
    from invreg.io import Scan
    from invreg.simulate import simulate

    out = Path(args.out)
    options = {"seed": args.seed, "rows": args.rows, "keep_truth": args.keep_truth, "force": args.force}
    made = simulate(args.file, words["operator"], words["noise"], out, **options)
    values = made.projections if isinstance(made, Scan) else made.values
    found = {"out": str(out), "operator": words["operator"], "noise": words["noise"], "shape": list(values.shape)}
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"{out}: {' x '.join(map(str, values.shape))} through {' '.join(words['operator'])}")
    for warning in made.warnings if isinstance(made, Scan) else ():
        print(f"note: {warning}")
    print(
        f"next: invreg reconstruct {out}"
        if isinstance(made, Scan)
        else f"next: invreg.io.read_measurement({args.out!r})"
    )
    return 0


VERB = Verb("from an image to a measurement file, to try a method where the truth is known", flags, run)
