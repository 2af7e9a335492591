"""Recipes: named ways from line integrals to images. A new one is a file here and a line in RECIPES."""

from invreg.recipes.base import Recipe, Reconstruction, Weight
from invreg.recipes.cgls import CGLS_RECIPE
from invreg.recipes.fbp import FBP_RECIPE
from invreg.recipes.fdk import FDK_RECIPE
from invreg.recipes.lpn import LPN_RECIPE
from invreg.recipes.svtv import SVTV_RECIPE
from invreg.recipes.tv import TV_RECIPE

RECIPES: dict[str, Recipe] = {
    r.name: r for r in (TV_RECIPE, SVTV_RECIPE, LPN_RECIPE, CGLS_RECIPE, FBP_RECIPE, FDK_RECIPE)
}

__all__ = ["RECIPES", "Recipe", "Reconstruction", "Weight"]
