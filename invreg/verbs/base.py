"""What the verbs of the command line share. Nothing heavy is imported here: --help answers at once."""

import argparse
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verb:
    """`flags(parser)` adds its flags; `run(args, started)` does the work and gives the exit code.

    started: `time.perf_counter()` when the process began to work.
    """

    summary: str
    flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, float], int]


class Usage(Exception):
    """A command line that cannot be understood; its text is the answer."""


# flag: (setting, metavar, help); all give one setting, as --set KEY=VALUE gives any
SETTINGS = {
    "--views": ("data.views", "N", "use N of the projections, evenly chosen"),
    "--rows": ("data.rows", "A:B", "the rows (slices) from A to B, counted from 0, B not included"),
    "--size": ("image.size", "N", "pixels on a side of the image, which spans the detector (default its bins)"),
    "--lambda": ("prior.lambda", "X|auto", "weight of the prior (default auto: chosen from the noise)"),
    "--misfit": (
        "misfit.kind",
        "KIND",
        '"least squares" (default) or sobolev, for noise correlated along the detector',
    ),
    "--s": ("misfit.s", "S|auto", "order of the Sobolev misfit, < 1.5 (default auto: found in the noise)"),
    "--centre": ("correct.centre", "X|auto", "bin of the rotation axis (default auto: found)"),
    "--weights": (
        "prior.weights",
        "NET",
        "network for svtv or lpn: a file of invreg train, or a name",
    ),
    "--device": ("compute.device", "NAME", "cpu or cuda (default cpu)"),
    "--angles": ("data.angles", "FILE", "text file of angles, one a projection"),
    "--angle-range": ("data.angle_range", "A:B", "evenly spread angles in degrees, B the view after the last"),
    "--angle-unit": ("data.angle_unit", "UNIT", "degrees or radians, where the file does not say or is wrong"),
    "--kind": ("data.kind", "KIND", 'what is stored: counts, transmission or "line integrals"'),
}


def no_flags(verb: argparse.ArgumentParser) -> None:
    """Of a verb that takes none."""


def measurement_flags(verb: argparse.ArgumentParser, files: str = "?") -> None:
    """FILE ("*": several), the recipe and the settings of the verbs that read a measurement."""
    verb.add_argument("file", nargs=files, metavar="FILE", help="the measurement, a file or a folder")
    verb.add_argument("--recipe", metavar="NAME|FILE", help="tv (default), svtv, lpn, cgls, fbp, fdk, or a recipe.toml")
    for flag, (_, metavar, told) in SETTINGS.items():
        verb.add_argument(flag, metavar=metavar, help=told)
    verb.add_argument("--truncated", action="store_true", help="go on where the detector is too narrow")
    verb.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, see invreg recipes")


def overrides(
    args: argparse.Namespace, flags: dict[str, tuple[str, str, str]], example: str
) -> dict[str, tuple[str, Any]]:
    """{setting: (where it was said, value)} of --set and then of the flags that give one setting each."""
    from invreg.recipes.config import value

    over: dict[str, tuple[str, Any]] = {}
    for pair in args.set:
        key, equals, text = pair.partition("=")
        if not equals:
            raise Usage(f"--set {pair}: expected KEY=VALUE, such as {example}")
        over[key.strip()] = f"--set {key.strip()}", value(text.strip())
    for flag, (key, _, _) in flags.items():
        given = getattr(args, flag[2:].replace("-", "_"))
        if given is not None:
            over[key] = flag, value(given)
    return over


def config(args: argparse.Namespace) -> Any:
    """The settings of a verb that takes FILE: the recipe file, then flags and --set on top."""
    from invreg.recipes import config as settings

    path = None
    over = overrides(args, SETTINGS, "solver.max_iter=200")
    if args.recipe is not None and (args.recipe.endswith(".toml") or Path(args.recipe).is_file()):
        path = Path(args.recipe)
    elif args.recipe is not None:
        over["recipe"] = "--recipe", args.recipe
    if args.truncated:
        over["correct.truncated"] = "--truncated", True
    if args.file is not None:
        over["data.file"] = "FILE", args.file
    found = settings.load(path, over)
    if found.data.file is None:
        raise Usage(f"no FILE given; name the measurement: invreg {args.verb} FILE")
    return found


def with_flags(message: str) -> str:
    """A sentence of the readers, with their arguments called as the flags they have here."""

    def flag(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')} {shlex.quote(found[2]) if found[2] else ''}".rstrip()

    return re.sub(r'\b(rows|views|angles|angle_range|angle_unit|kind|centre)=(?:"([^"]*)")?', flag, message)
