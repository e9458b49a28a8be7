"""Build and check the modules of the first phase once, before training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.documents.training import FeatureCachePlan
from lorkit.decompose.methods import HasAdapter, Method, TrainingModule, needs_foundation
from lorkit.decompose.methods.reprogramming.base import ReprogrammingModule
from lorkit.decompose.methods.several_teachers import SeveralTeachers, build_module
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.tasks import get_task
from lorkit.decompose.training.feature_cache import features_directory, plan_features
from lorkit.decompose.training.foundation.pretraining import with_all_heads
from lorkit.decompose.training.gradient_check import check_batches
from lorkit.decompose.training.loop.fine_tuning import check_fine_tuning
from lorkit.decompose.training.memory import check_trained


@dataclass(frozen=True)
class BuiltModule:
    """A module to train, and the state of the CPU's random generator right after it was built."""

    module: TrainingModule
    random_state: Tensor


def build_first_phase(
    config: Config,
    method: Method,
    foundation: Foundation | None,
    regions: RegionSet,
    counts: Mapping[str, int],
    foundations: Path,
    further: Sequence[Foundation] = (),
) -> dict[str, BuiltModule]:
    """Build the modules of the first phase, and refuse what cannot be trained before a foundation is pre-trained.

    The check changes no weight, running statistic or random state of the modules.

    Args:
        config: Resolved settings.
        method: The method to train.
        foundation: The foundation, whose weights may be untrained; None if the method needs none.
        regions: All regions.
        counts: Training samples of each.
        foundations: Directory of foundations; features are kept in it.
        further: Further teachers, whose weights may be untrained.

    Returns:
        Modules by method for `train_phases`, that of an adapter first. A method that starts from the foundation's
        weights is only checked: it copies them after pre-training.

    Raises:
        UsageError: The network cannot be built as configured, stages, sizes or layers of the foundation do not match,
            batches are too small for the alignment, or features of the teacher exceed `cache.budget`.
    """
    members = method.phases(regions)[0]
    if foundation is None or not needs_foundation(method):
        return {method.name: _built(config, method, members, [])}
    built = {}
    known, *others = (with_regions(with_all_heads(one, regions), members) for one in (foundation, *further))
    for step in steps_of(method):
        built[step.name] = _built(config, step, members, [known, *others])
        if step is not method:
            known = adapted(known)
    module = built[method.name].module
    if isinstance(module, ReprogrammingModule | SeveralTeachers):
        check_batches(config.train, module, method.phases(regions), counts)
    check_feature_cache(config, method, module, with_all_heads(foundation, regions), counts, foundations)
    starts = {step.name for step in steps_of(method) if step.starts_from_foundation}
    return {name: one for name, one in built.items() if name not in starts}


def _built(config: Config, step: Method, members: RegionSet, teachers: Sequence[Foundation]) -> BuiltModule:
    torch.manual_seed(config.seed)
    built = BuiltModule(build_module(step, config, members, teachers), torch.get_rng_state())
    check_fine_tuning(built.module, config.train)
    check_trained(built.module, config)
    return built


def steps_of(method: Method) -> Sequence[Method]:
    """Return the methods that every phase trains, in order: its adapter, if any, and the method."""
    return (method.adapter, method) if isinstance(method, HasAdapter) else (method,)


def adapted(foundation: Foundation) -> Foundation:
    """Return the foundation after its adaptation, with the heads that were trained with it."""
    return replace(foundation, heads=dict.fromkeys(foundation.regions.names, "own"))


def check_feature_cache(
    config: Config,
    method: Method,
    module: TrainingModule,
    foundation: Foundation,
    counts: Mapping[str, int],
    foundations: Path,
) -> FeatureCachePlan | None:
    """Return the plan of the teacher's features, None without a cache of them; UsageError above `cache.budget`.

    `module` is that of the first phase, the foundation has a head for every region.
    """
    if not config.cache.enabled or not method.uses_teacher:
        return None
    modules = dict.fromkeys(module.live.regions.names, module)
    kinds = {_has_masks(region): module for region in module.live.regions}
    for phase in method.phases(foundation.regions):
        for region in phase:
            if _has_masks(region) not in kinds:  # of other size
                kinds[_has_masks(region)] = method.build(config, phase, with_regions(foundation, phase))
            modules.setdefault(region.name, kinds[_has_masks(region)])
    return plan_features(config, modules, foundation, counts, features_directory(config, foundations))


def _has_masks(region: Region) -> bool:
    return get_task(region.task).dense
