"""invreg plan: memory, time and disk of a reconstruction, before its arrays are read."""

import argparse
import json

from invreg.verbs.base import Verb, measurement_flags
from invreg.verbs.base import config as settings


def run(args: argparse.Namespace, started: float) -> int:
    from dataclasses import asdict

    from invreg.plan import plan, told

    config = settings(args)
    found = plan(config)
    print(json.dumps(asdict(found)) if args.json else told(config, found))
    return 0


VERB = Verb("memory, time and disk of a reconstruction, before its arrays are read", measurement_flags, run)
