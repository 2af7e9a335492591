"""The command line: from flags to settings, from errors to one sentence and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong input or usage, 3 finished but not converged. Nothing heavy is imported
before the flags are understood, so that --help answers at once.
"""

import argparse
import difflib
import errno
import json
import logging
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

# flag: (setting, metavar, help); all give one setting, as --set KEY=VALUE gives any
SETTINGS = {
    "--views": ("data.views", "N", "use N of the projections, evenly chosen"),
    "--rows": ("data.rows", "A:B", "the rows (slices) from A to B, counted from 0, B not included"),
    "--size": ("image.size", "N", "pixels on a side of the image, which spans the detector (default its bins)"),
    "--lambda": ("prior.lambda", "X|auto", "weight of the prior (default auto: chosen from the noise)"),
    "--centre": ("correct.centre", "X|auto", "bin of the rotation axis (default auto: found)"),
    "--device": ("compute.device", "NAME", "cpu or cuda (default cpu)"),
    "--angles": ("data.angles", "FILE", "text file of angles, one a projection"),
    "--angle-range": ("data.angle_range", "A:B", "evenly spread angles in degrees, B the view after the last"),
    "--angle-unit": ("data.angle_unit", "UNIT", "degrees or radians, where the file does not say or is wrong"),
    "--kind": ("data.kind", "KIND", 'what is stored: counts, transmission or "line integrals"'),
}
VERBS = {
    "reconstruct": "from a measurement file to a volume and its report",
    "simulate": "from an image to a measurement file, to try a method where the truth is known",
    "info": "what is in a measurement or image file and what is missing",
    "plan": "memory, time and disk of a reconstruction, before its arrays are read",
    "recipes": "the recipes and all settings",
    "doctor": "what works on this machine, and why the rest does not",
}


class Usage(Exception):
    """A command line that cannot be understood; its text is the answer."""


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Usage(f"{message}; see {self.prog} --help")


def parser() -> Parser:
    """All flags of all verbs. Flags and FILE come in any order."""
    common = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    top = Parser(
        prog="invreg",
        description="From a measurement file to a reconstruction you can trust.",
        epilog="exit codes: 0 done, 1 failed, 2 wrong input or usage, 3 finished but not converged\n\n"
        "examples:\n  invreg info scan.h5\n  invreg reconstruct scan.h5 --views 45\n"
        "  invreg reconstruct scan.h5 --recipe tv --rows 100:120 --set solver.tol=1e-4 --out result",
        **common,  # type: ignore[arg-type]
    )
    top.add_argument("--version", action="store_true", help="print the version")
    top.add_argument("--json", action="store_true", help="answer with JSON on the standard output")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary, **common)  # type: ignore[arg-type]
        verb.add_argument("--json", action="store_true", help="answer with JSON on the standard output")
        if name in ("reconstruct", "plan", "info"):
            verb.add_argument("file", nargs="?", metavar="FILE", help="the measurement, a file or a folder")
            verb.add_argument(
                "--recipe", metavar="NAME|FILE", help="tv (default), svtv, cgls, fbp, fdk, or a recipe.toml"
            )
            for flag, (_, metavar, told) in SETTINGS.items():
                verb.add_argument(flag, metavar=metavar, help=told)
            verb.add_argument("--truncated", action="store_true", help="go on where the detector is too narrow")
            verb.add_argument(
                "--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, see invreg recipes"
            )
        if name == "simulate":
            _simulate_flags(verb)
        if name == "reconstruct":
            verb.add_argument("--out", metavar="DIR", help="folder of the results (default FILE_invreg)")
            verb.add_argument("--force", action="store_true", help="replace results that are there")
            verb.add_argument("--resume", action="store_true", help="go on with a run that was killed")
            verb.add_argument("--quiet", action="store_true", help="no progress")
        if name == "info":
            verb.add_argument("--plot", metavar="PNG", help="draw the measurement and its geometry")
    return top


def _simulate_flags(verb: argparse.ArgumentParser) -> None:
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


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` (default that of the process); the exit code."""
    args = sys.argv[1:] if argv is None else argv
    started = time.perf_counter()
    try:
        return _run(_parse(args), started)
    except SystemExit as end:  # argparse after --help
        return int(end.code or 0)
    except Usage as error:
        return _refuse(str(error), args)
    except KeyboardInterrupt:
        print("invreg: interrupted before anything was finished; nothing was written", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:
        told = _expected(error)
        if told is not None:
            return _refuse(told, args)
        import traceback

        traceback.print_exc()
        print(f"invreg: failed: {type(error).__name__}: {error}; this is a fault of invreg", file=sys.stderr)
        return 1


def _parse(args: list[str]) -> argparse.Namespace:
    """The flags, with the verb moved to the front, so that --json or --out may stand before it."""
    top, words = parser(), list[str]()
    for word in args:
        # a value may begin with a minus, as an angle does, or be called like a verb
        if words and words[-1] in (*SETTINGS, "--recipe", "--set", "--out", "--plot", "--seed"):
            words[-1] += f"={word}"
        else:
            words.append(word)
    at = next((i for i, word in enumerate(words) if word in VERBS), None)
    if at is not None:
        words = [words[at], *words[:at], *words[at + 1 :]]
    elif stray := [word for word in words if not word.startswith("-")]:
        near = difflib.get_close_matches(stray[0], VERBS, 1)
        hint = f"did you mean {near[0]}?" if near else f"say what to do with it, such as invreg info {stray[0]}"
        raise Usage(f"there is no verb {stray[0]}; {hint}")
    known, unknown = top.parse_known_args(words)
    if unknown:
        flags = [f for a in _of_verb(top, known.verb)._actions for f in a.option_strings]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], flags, 1)
        hint = f"did you mean {near[0]}?" if near else f"see invreg {known.verb or ''} --help"
        what = "flag" if unknown[0].startswith("-") else "argument"
        raise Usage(f"unknown {what} {unknown[0]}; {hint}")
    if known.version or known.verb is not None:
        return known
    top.print_help()
    raise SystemExit(2)


def _of_verb(top: Parser, verb: str | None) -> argparse.ArgumentParser:
    choices = next(a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return choices[verb] if verb else top


def _run(args: argparse.Namespace, started: float) -> int:
    if args.version:
        from invreg import __version__

        print(json.dumps({"version": __version__}) if args.json else f"invreg {__version__}")
        return 0
    if args.verb == "doctor":
        from invreg.doctor import doctor

        return doctor(args.json)
    if args.verb == "recipes":
        return _recipes(args.json)
    for library in ("tifffile", "nibabel", "pydicom"):  # what is wrong with a file is said in one sentence
        logging.getLogger(library).setLevel(logging.CRITICAL)
    if args.verb == "simulate":
        return _simulate(args)
    # numpy's small systems gain nothing from threads, and its waiting ones slow all others down up to 50 times
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    config = _config(args)
    if args.verb == "reconstruct":
        return _reconstruct(args, config, started)
    return {"info": _info, "plan": _plan}[args.verb](args, config)


def _config(args: argparse.Namespace) -> Any:
    """The settings of a verb that takes FILE: the recipe file, then flags and --set on top."""
    from invreg.recipes import config

    path = None
    over: dict[str, tuple[str, Any]] = {}
    if args.recipe is not None and (args.recipe.endswith(".toml") or Path(args.recipe).is_file()):
        path = Path(args.recipe)
    elif args.recipe is not None:
        over["recipe"] = "--recipe", args.recipe
    for pair in args.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise Usage(f"--set {pair}: expected KEY=VALUE, such as solver.max_iter=200")
        over[key.strip()] = f"--set {key.strip()}", config.value(value.strip())
    for flag, (key, _, _) in SETTINGS.items():
        value = getattr(args, flag[2:].replace("-", "_"))
        if value is not None:
            over[key] = flag, config.value(value)
    if args.truncated:
        over["correct.truncated"] = "--truncated", True
    if args.file is not None:
        over["data.file"] = "FILE", args.file
    found = config.load(path, over)
    if found.data.file is None:
        raise Usage(f"no FILE given; name the measurement: invreg {args.verb} FILE")
    return found


def _reconstruct(args: argparse.Namespace, config: Any, started: float) -> int:
    from dataclasses import asdict

    from invreg.progress import Clock
    from invreg.reconstruct import reconstruct

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
    if done.metrics:
        print("against the truth: " + ", ".join(f"{name} {value:.4g}" for name, value in done.metrics.items()))
    for warning in done.warnings:
        print(f"note: {_with_flags(warning)}")
    print(f"{clock}")
    print(f"{out}: {', '.join(done.files)}")
    return done.code


def _info(args: argparse.Namespace, config: Any) -> int:
    from invreg.info import image_info, image_told, info, plot, told

    image = image_info(Path(config.data.file))
    if image is not None and args.plot:
        raise Usage(f"--plot {args.plot}: only scans are drawn, and {config.data.file} is none")
    if image is not None:
        print(json.dumps(image) if args.json else image_told(image))
        return 0
    found = info(config)
    print(json.dumps(found) if args.json else told(found))
    if found["problem"] is not None:
        print(f"invreg: {_with_flags(found['problem'])}", file=sys.stderr)
        return 2
    if args.plot:
        plot(config, Path(args.plot))
    return 0


def _simulate(args: argparse.Namespace) -> int:
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


def _plan(args: argparse.Namespace, config: Any) -> int:
    from dataclasses import asdict

    from invreg.plan import plan, told

    found = plan(config)
    print(json.dumps(asdict(found)) if args.json else told(config, found))
    return 0


def _recipes(as_json: bool) -> int:
    from invreg.recipes import RECIPES
    from invreg.recipes.config import keys

    if as_json:
        settings = {key: {"default": default, "takes": takes} for key, (default, takes) in keys().items()}
        print(json.dumps({"recipes": {r.name: r.summary for r in RECIPES.values()}, "settings": settings}))
        return 0
    for recipe in RECIPES.values():
        print(f"{recipe.name:6} {recipe.summary}")
    print("\nsettings, for --set KEY=VALUE or a recipe.toml (SECTION.KEY stands under [SECTION] there):")
    for key, (default, takes) in keys().items():
        print(f"  {key:20} {'' if default is None else json.dumps(default):9} {takes}")
    return 0


def _expected(error: Exception) -> str | None:
    """The sentence for an error of the input, the disk or the memory; None for a fault of ours."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):  # torch
        return f"out of memory ({error or 'no details'}); take fewer views, fewer rows or a smaller image"
    if isinstance(error, OSError) and error.errno in (
        errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR
    ):  # fmt: skip
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "; make room and go on with --resume" if full else "; choose another --out"
        return f"{where}{(error.strerror or 'cannot be written').lower()}{hint}"
    from invreg.io import InputError

    return str(error) if isinstance(error, InputError) else None


def _refuse(message: str, args: list[str]) -> int:
    """Say why on the error stream; exit code 2."""
    message = _with_flags(message)
    print(f"invreg: {message}", file=sys.stderr)
    if "--json" in args:
        print(json.dumps({"code": 2, "error": message}))
    return 2


def _with_flags(message: str) -> str:
    """A sentence of the readers, with their arguments called as the flags they have here."""

    def flag(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')} {shlex.quote(found[2]) if found[2] else ''}".rstrip()

    return re.sub(r'\b(rows|views|angles|angle_range|angle_unit|kind|centre)=(?:"([^"]*)")?', flag, message)
