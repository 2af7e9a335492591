"""invreg recipes: the recipes and all settings."""

import argparse
import json

from invreg.verbs.base import Verb, no_flags


def run(args: argparse.Namespace, started: float) -> int:
    from invreg.recipes import RECIPES
    from invreg.recipes.config import keys

    if args.json:
        settings = {key: {"default": default, "takes": takes} for key, (default, takes) in keys().items()}
        print(json.dumps({"recipes": {r.name: r.summary for r in RECIPES.values()}, "settings": settings}))
        return 0
    for recipe in RECIPES.values():
        print(f"{recipe.name:6} {recipe.summary}")
    print("\nsettings, for --set KEY=VALUE or a recipe.toml (SECTION.KEY stands under [SECTION] there):")
    for key, (default, takes) in keys().items():
        print(f"  {key:20} {'' if default is None else json.dumps(default):9} {takes}")
    return 0


VERB = Verb("the recipes and all settings", no_flags, run)
