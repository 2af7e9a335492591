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
import sys
import time
from typing import NoReturn

from invreg.verbs import VERBS
from invreg.verbs.base import Usage, with_flags


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
    for name, of in VERBS.items():
        verb = verbs.add_parser(name, help=of.summary, description=of.summary, **common)  # type: ignore[arg-type]
        verb.add_argument("--json", action="store_true", help="answer with JSON on the standard output")
        of.flags(verb)
    return top


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
    valued = _valued(top)
    for word in args:
        # a value may begin with a minus, as an angle does, or be called like a verb
        if words and words[-1] in valued:
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


def _valued(top: Parser) -> set[str]:
    """The flags of all verbs that take one value."""
    return {
        flag for name in VERBS for a in _of_verb(top, name)._actions if a.nargs is None for flag in a.option_strings
    }


def _of_verb(top: Parser, verb: str | None) -> argparse.ArgumentParser:
    choices = next(a.choices for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return choices[verb] if verb else top


def _run(args: argparse.Namespace, started: float) -> int:
    if args.version:
        from invreg import __version__

        print(json.dumps({"version": __version__}) if args.json else f"invreg {__version__}")
        return 0
    for library in ("tifffile", "nibabel", "pydicom"):  # what is wrong with a file is said in one sentence
        logging.getLogger(library).setLevel(logging.CRITICAL)
    # numpy's small systems gain nothing from threads, and its waiting ones slow all others down up to 50 times
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return VERBS[args.verb].run(args, started)


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
    message = with_flags(message)
    print(f"invreg: {message}", file=sys.stderr)
    if "--json" in args:
        print(json.dumps({"code": 2, "error": message}))
    return 2
