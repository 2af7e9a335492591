"""Solvers: how likelihoods and priors are joined into an estimate."""

if __name__ != "invreg.solvers":  # found as a top-level package, from the checkout
    raise ImportError("import invreg.solvers, not solvers")

from invreg.solvers.admm import ADMM
from invreg.solvers.bilevel import BilevelLower, Bounds, Learned, Variational
from invreg.solvers.black_box import search
from invreg.solvers.choose import Choice, discrepancy
from invreg.solvers.condat_vu import CondatVu
from invreg.solvers.fista import FISTA
from invreg.solvers.gcv import gcv
from invreg.solvers.hoag import HOAG
from invreg.solvers.influence import tikhonov_influence
from invreg.solvers.krylov import CG, CGLS, LSQR
from invreg.solvers.landweber import Landweber
from invreg.solvers.lbfgs import LBFGS
from invreg.solvers.lcurve import lcurve
from invreg.solvers.maid import MAID
from invreg.solvers.newton import GaussNewton, NewtonCG
from invreg.solvers.pdhg import PDHG
from invreg.solvers.pnp import PnPADMM, PnPPGD
from invreg.solvers.spdhg import SPDHG
from invreg.solvers.sure import sure

__all__ = [
    "ADMM",
    "CG",
    "CGLS",
    "FISTA",
    "HOAG",
    "LBFGS",
    "LSQR",
    "MAID",
    "PDHG",
    "SPDHG",
    "BilevelLower",
    "Bounds",
    "Choice",
    "CondatVu",
    "GaussNewton",
    "Landweber",
    "Learned",
    "NewtonCG",
    "PnPADMM",
    "PnPPGD",
    "Variational",
    "discrepancy",
    "gcv",
    "lcurve",
    "search",
    "sure",
    "tikhonov_influence",
]
