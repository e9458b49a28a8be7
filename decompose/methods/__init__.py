"""Methods of decomposition: one file for each, listed in `methods/__init__.py`."""

from __future__ import annotations

from lorkit.decompose.errors import unknown
from lorkit.decompose.methods import lorkd, ragformer
from lorkit.decompose.methods.base import FitsInOneGo, HasAdapter, Method, TrainingModule, needs_foundation
from lorkit.decompose.methods.baselines import balanced, finetune, linear_probe, lora, mmoe, students
from lorkit.decompose.methods.distillation import cka, cwd, dist, feature_and_logit, fitnet, kd, rkd, skd, sp
from lorkit.decompose.methods.graphs import convolutions, gaga, own_mlp, trees
from lorkit.decompose.methods.mola import grad, hard_router, router
from lorkit.decompose.methods.reprogramming import drd, rd

__all__ = ["METHODS", "FitsInOneGo", "HasAdapter", "Method", "TrainingModule", "get_method", "needs_foundation"]

_ALL: tuple[Method, ...] = (
    lorkd.METHOD,
    grad.METHOD,
    router.METHOD,
    hard_router.METHOD,
    rd.METHOD,
    drd.METHOD,
    *students.METHODS,
    *feature_and_logit.METHODS,
    *balanced.METHODS,
    mmoe.METHOD,
    *kd.METHODS,
    fitnet.METHOD,
    rkd.METHOD,
    sp.METHOD,
    dist.METHOD,
    cka.METHOD,
    skd.METHOD,
    cwd.METHOD,
    finetune.METHOD,
    linear_probe.METHOD,
    lora.METHOD,
    ragformer.METHOD,
    gaga.METHOD,
    own_mlp.METHOD,
    *trees.METHODS,
    *convolutions.METHODS,
)
METHODS: dict[str, Method] = {method.name: method for method in _ALL}


def get_method(name: str) -> Method:
    """Return a method by name; raise UsageError with the known ones."""
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]
