"""What the first phase trains is built once, before anything is trained, and refused where it does not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.methods import HasAdapter, Method, TrainingModule, needs_foundation
from lorkit.decompose.methods.reprogramming.base import ReprogrammingModule
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.feature_cache import PlannedFeatures, features_directory, plan_features
from lorkit.decompose.training.foundation.pretraining import with_all_heads
from lorkit.decompose.training.gradient_check import check_batches


@dataclass(frozen=True)
class BuiltModule:
    """A module to train, and the state of the CPU's random generator right after it was built."""

    module: TrainingModule
    random_state: Tensor


def build_first_phase(
    config: Config,
    method: Method,
    foundation: Foundation,
    regions: RegionSet,
    counts: Mapping[str, int],
    foundations: Path,
) -> dict[str, BuiltModule]:
    """Build what the first phase trains, and refuse what cannot be trained before a foundation is pre-trained for it.

    Neither the check nor what it computes changes a weight, a running statistic or the modules' random state.

    Args:
        config: Resolved settings.
        method: What is to be trained.
        foundation: Its network; the weights need not be trained yet.
        regions: All regions.
        counts: Training samples of each.
        foundations: Directory of foundations; features are kept in it.

    Returns:
        By method, the adapter's first where there is one, what `train_phases` goes on with. A method that starts from
        the foundation's own weights is tried out alone: it copies them once they are trained.

    Raises:
        UsageError: A foundation with stages, sizes or layers that do not fit, batches too small for the alignment, or
            features of the teacher that are larger than `cache.budget`.
    """
    if not needs_foundation(method):
        return {}
    built = {}
    members = method.phases(regions)[0]
    known = with_regions(with_all_heads(foundation, regions), members)
    for step in steps_of(method):
        torch.manual_seed(config.seed)
        built[step.name] = BuiltModule(step.build(config, members, known), torch.get_rng_state())
        if step is not method:
            known = adapted(known)
    module = built[method.name].module
    if isinstance(module, ReprogrammingModule):
        check_batches(config.train, module, method.phases(regions), counts)
    check_feature_cache(config, method, module, known, counts, foundations)
    starts = {step.name for step in steps_of(method) if step.starts_from_foundation}
    return {name: one for name, one in built.items() if name not in starts}


def steps_of(method: Method) -> Sequence[Method]:
    """Return what every phase of a method trains, one after the other: its adapter, if it has one, and itself."""
    return (method.adapter, method) if isinstance(method, HasAdapter) else (method,)


def adapted(foundation: Foundation) -> Foundation:
    """Return the foundation as it is after its adaptation: with heads that were trained with it."""
    return replace(foundation, heads=dict.fromkeys(foundation.regions.names, "own"))


def check_feature_cache(
    config: Config,
    method: Method,
    module: TrainingModule,
    foundation: Foundation,
    counts: Mapping[str, int],
    foundations: Path,
) -> PlannedFeatures | None:
    """Return the plan of the teacher's features, None without a cache of them; UsageError above `cache.budget`."""
    if not config.cache.enabled or not method.uses_teacher:
        return None
    return plan_features(config, module, foundation, counts, features_directory(config, foundations))
