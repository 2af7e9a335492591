"""The contracts: operators, functionals, latents, solvers. Imports torch and the standard library only."""

from invreg.core.algebra import BlockDiagonal, Stack
from invreg.core.functional import Functional, Likelihood, Precomposed, Sum, Weighted, positive_weight
from invreg.core.latent import Latent
from invreg.core.objective import checked_terms, convex_terms, taken_apart
from invreg.core.operator import External, Linear, Operator
from invreg.core.posterior import Posterior
from invreg.core.solver import Result, Solver, solve
from invreg.core.space import ShapeError, Space, inner, over_batch, total

__all__ = [
    "BlockDiagonal",
    "External",
    "Functional",
    "Latent",
    "Likelihood",
    "Linear",
    "Operator",
    "Posterior",
    "Precomposed",
    "Result",
    "ShapeError",
    "Solver",
    "Space",
    "Stack",
    "Sum",
    "Weighted",
    "checked_terms",
    "convex_terms",
    "inner",
    "over_batch",
    "positive_weight",
    "solve",
    "taken_apart",
    "total",
]
