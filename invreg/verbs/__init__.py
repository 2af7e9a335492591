"""The verbs of the command line. A new one is a file here and a line in VERBS."""

from invreg.verbs.base import Verb
from invreg.verbs.data import VERB as DATA
from invreg.verbs.doctor import VERB as DOCTOR
from invreg.verbs.info import VERB as INFO
from invreg.verbs.plan import VERB as PLAN
from invreg.verbs.prior import VERB as PRIOR
from invreg.verbs.recipes import VERB as RECIPES
from invreg.verbs.reconstruct import VERB as RECONSTRUCT
from invreg.verbs.simulate import VERB as SIMULATE
from invreg.verbs.train import VERB as TRAIN
from invreg.verbs.tune import VERB as TUNE

VERBS: dict[str, Verb] = {
    "reconstruct": RECONSTRUCT,
    "simulate": SIMULATE,
    "data": DATA,
    "train": TRAIN,
    "tune": TUNE,
    "prior": PRIOR,
    "info": INFO,
    "plan": PLAN,
    "recipes": RECIPES,
    "doctor": DOCTOR,
}

__all__ = ["VERBS", "Verb"]
