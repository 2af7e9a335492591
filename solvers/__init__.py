"""Solvers: how likelihoods and priors are joined into an estimate."""

if __name__ != "invreg.solvers":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.solvers, not solvers")

from invreg.solvers.admm import ADMM
from invreg.solvers.choose import Choice, discrepancy
from invreg.solvers.fista import FISTA
from invreg.solvers.krylov import CG, CGLS
from invreg.solvers.pdhg import PDHG
from invreg.solvers.spdhg import SPDHG

__all__ = ["ADMM", "CG", "CGLS", "FISTA", "PDHG", "SPDHG", "Choice", "discrepancy"]
