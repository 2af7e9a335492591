"""Training of learned priors: one loop, and a task for each prior.

A new task is a file here that has `Config`, `make` and `network` (docs/training.md), and a line in TASKS. Nothing is
imported before a task is asked for, as the command line lists them.
"""

# name: (module, summary)
TASKS = {
    "svtv-weights": ("invreg.train.svtv_weights", "images whose edges weigh space-variant total variation"),
    "denoiser": ("invreg.train.denoiser", "an ordinary denoiser, for comparison with lpn"),
    "lpn": ("invreg.train.lpn", "learned proximal networks, which are the prior of pnp and of the recipe lpn"),
}

__all__ = ["TASKS"]
