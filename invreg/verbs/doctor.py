"""invreg doctor: what works on this machine, and why the rest does not."""

import argparse

from invreg.verbs.base import Verb, no_flags


def run(args: argparse.Namespace, started: float) -> int:
    from invreg.doctor import doctor

    return doctor(args.json)


VERB = Verb("what works on this machine, and why the rest does not", no_flags, run)
