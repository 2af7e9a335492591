"""invreg info: what is in a measurement or image file and what is missing."""

import argparse
import json
import sys
from pathlib import Path

from invreg.verbs.base import Usage, Verb, measurement_flags, with_flags
from invreg.verbs.base import config as settings


def flags(verb: argparse.ArgumentParser) -> None:
    measurement_flags(verb)
    verb.add_argument("--plot", metavar="PNG", help="draw the measurement and its geometry")


def run(args: argparse.Namespace, started: float) -> int:
    from invreg.info import image_info, image_told, info, plot, told

    config = settings(args)
    image = image_info(Path(config.data.file))
    if image is not None and args.plot:
        raise Usage(f"--plot {args.plot}: only scans are drawn, and {config.data.file} is none")
    if image is not None:
        print(json.dumps(image) if args.json else image_told(image))
        return 0
    found = info(config)
    print(json.dumps(found) if args.json else told(found))
    if found["problem"] is not None:
        print(f"invreg: {with_flags(found['problem'])}", file=sys.stderr)
        return 2
    if args.plot:
        plot(config, Path(args.plot))
    return 0


VERB = Verb("what is in a measurement or image file and what is missing", flags, run)
