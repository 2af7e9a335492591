"""Solvers: how likelihoods and priors are joined into an estimate."""

if __name__ != "invreg.solvers":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.solvers, not solvers")

from invreg.solvers.choose import Choice, discrepancy
from invreg.solvers.gcv import gcv
from invreg.solvers.influence import tikhonov_influence
from invreg.solvers.krylov import CGLS
from invreg.solvers.lcurve import lcurve
from invreg.solvers.pdhg import PDHG
from invreg.solvers.sure import sure

__all__ = ["CGLS", "PDHG", "Choice", "discrepancy", "gcv", "lcurve", "sure", "tikhonov_influence"]
