"""Build one expert of a run: merge it, check that it equals the live model, measure and write it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from lorkit.decompose.artifacts import save_tensors, write_manifest, write_text
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.preprocessing import region_check
from lorkit.decompose.data.samples.class_names import is_sided
from lorkit.decompose.documents.base import combine
from lorkit.decompose.documents.expert import Equality, ExpertInfo, Output, Reduction
from lorkit.decompose.documents.network import (
    Decision,
    ImageShape,
    MeasuredCheck,
    Normalisation,
    OtherRegions,
    RefusalRate,
    RegionCheck,
)
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.documents.scores import TaskScores
from lorkit.decompose.errors import DataError, plural
from lorkit.decompose.evaluation.inference import predict_logits, score_validation
from lorkit.decompose.evaluation.scoring import task_scores
from lorkit.decompose.experts import recalibrate_norm_
from lorkit.decompose.extraction.equality import check_equality, check_no_foreign_tensors
from lorkit.decompose.extraction.expert_source import source_of
from lorkit.decompose.extraction.model_card import model_card
from lorkit.decompose.extraction.rank_cut import check_rank, cut_expert_
from lorkit.decompose.extraction.torch_program import write_program
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.models.mixtures.networks import GatedBackbone
from lorkit.decompose.models.mixtures.rebuilding import describe_gated
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.expert import CARD, PROGRAM, WEIGHTS, fresh_network
from lorkit.decompose.runs.listing import EXPERT_INFO
from lorkit.decompose.runs.live_model import deployed_backbone, deploys_foundation
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.runs.networks import RunNetworks
from lorkit.decompose.tasks import get_task

# Maximum number of images for the region check; more do not change it.
_MOST = 2000
_BATCH = 128


class _Measured(NamedTuple):
    equality: Equality
    validation: TaskScores
    reduction: Reduction | None
    decision: Decision | None


class ExpertBuilder:
    """Builds experts of one run; model and data are read once.

    Args:
        run: The run.
        recalibrate: Re-estimate batch-norm statistics after merging.
        rank: Reduce the update of every layer to at most this rank; None does not.

    Raises:
        UsageError: A rank for a run without low-rank experts.
        ArtifactError: The run is damaged.
    """

    def __init__(self, run: Run, *, recalibrate: bool = False, rank: int | None = None) -> None:
        self.run, self.recalibrate, self.rank = run, recalibrate, rank
        self.networks, self.data = RunNetworks(run), RunSplits(run)
        if rank is not None:
            check_rank(self.networks.live, rank)

    def build(self, region: str, directory: Path, inputs: str) -> None:
        """Write one expert into a staging directory; `inputs` is the digest of all that determines it.

        Raises:
            DataError: The run's data is missing: equality is checked on images of the validation split.
            ParityError: The network differs from the live model, or has tensors of another region.
        """
        network = self.networks.expert(region)
        common = self.networks.foundation_model.model.backbone if deploys_foundation(self.run.config) else None
        config, names = self.run.config, self.run.regions.names
        # separate students of one seed are alike until a frozen backbone is trained
        alike = config.student.weights is not None or config.train.freeze_epochs > 0
        check_no_foreign_tensors(self.networks.live, network, region, names, common, same_start=alike)
        val = self.data.part(region, "val")
        logits = predict_logits(network, val)
        equality = check_equality(self.networks.live, network, val, logits, self._decide(network, val, logits))
        train = self.data.part(region, "train")
        reduction = None
        if self.rank is not None:
            reduction, logits = cut_expert_(network, cast(RegionalModel, self.networks.live), self.rank, val, logits)
        if self.recalibrate:
            recalibrate_norm_(network, _batches(train))
            logits = predict_logits(network, val)
        decision = self._decide(network, val, logits)
        found = task_scores(val, score_validation(network, val, logits), decision)
        info = self._describe(network, train, val, _Measured(equality, found, reduction, decision))
        self._check_plain(network, info)
        metadata = {"format": "pt", "region": region, "backbone": info.backbone}
        save_tensors(directory / WEIGHTS, network.network.state_dict(), metadata)
        write_program(network, directory / PROGRAM, shape=tuple(val.images.shape[1:]))
        info.write(directory / EXPERT_INFO)
        write_text(directory / CARD, model_card(info))
        synthetic = self.run.synthetic
        extra = {"region": region, "task": info.task}
        write_manifest(directory, "expert", synthetic=synthetic, parent=self.run.manifest, inputs=inputs, extra=extra)

    def _decide(self, network: Deployable, val: PreparedRegion, logits: Float32Array) -> Decision | None:
        """Choose the thresholds of a network from its outputs on validation; None for a task without."""
        task = get_task(val.region.task)
        if not task.decides:
            return None
        policy = self.run.config.regions[val.region.name].threshold
        return task.decide(val.region, val.targets, score_validation(network, val, logits), policy)

    def _describe(
        self, network: Deployable, train: PreparedRegion, val: PreparedRegion, measured: _Measured
    ) -> ExpertInfo:
        config, one = self.run.config, self.run.regions.get(val.region.name)
        image, task = config.deployed_image, get_task(one.task)
        # fingerprints are of images
        check, warnings = (None, []) if val.recipe.nodes else self._in_region(one.name, train, val)
        info = ExpertInfo(
            warnings=warnings,
            **ExpertInfo.describing(one),
            backbone=deployed_backbone(config),
            image=ImageShape(size=list(image.size), channels=image.channels),
            network_output=Output(name=task.output, channels=task.outputs(one)),
            gray=val.recipe.nodes is None and train.stored.shape[1] == 1,
            recipe=val.recipe,
            normalise=Normalisation(mean=list(network.mean), std=list(network.std)),
            parameters=count_parameters(network),
            macs=count_macs(network, tuple(val.images.shape[1:])),
            recalibrated=self.recalibrate,
            cases=self.data.counts(one.name),
            in_region=check,
            sided=is_sided(one, config.regions[one.name].augment, config.train.augment),
            synthetic=self.run.synthetic,
            made_from=source_of(self.run, [one.name]),
            equality=measured.equality,
            validation=measured.validation,
            reduction=measured.reduction,
        )
        if isinstance(gated := network.network, GatedBackbone):
            info = info.with_changes(gated_layers=describe_gated(gated.backbone, gated.gates, gated.gating))
        return info if measured.decision is None else info.with_changes(decision=measured.decision)

    def _in_region(self, region: str, train: PreparedRegion, val: PreparedRegion) -> tuple[MeasuredCheck, list[str]]:
        """Fit the region check, and measure it on images that were not used to fit its model or limit."""
        known = _evenly_spaced(train)
        groups = len(set(known.groups))
        model = region_check.calibrate(region_check.fit(known.overviews, groups=groups), _evenly_spaced(val).overviews)
        own = self.data.part(region, "test", most=_MOST)
        rates, seen, warnings = self._refused(model, region, val.recipe)
        if groups < region_check.FEWEST_GROUPS:
            least = f"{region_check.FEWEST_GROUPS} or more would give a sharper one"
            warnings.append(f"the in-region check has ranges only, of {plural(groups, 'patient or image')}: {least}")
        refused = RefusalRate(rate=region_check.refusal_rate(model, own.overviews), n=len(own), split="test")
        # no names: an expert does not name other regions
        others = OtherRegions(
            rate=float(np.mean(rates)) if rates else None,
            lowest=min(rates, default=None),
            region_count=len(rates),
            n=seen,
        )
        return combine(MeasuredCheck, model, false_refusal=refused, other_regions=others), warnings

    def _refused(self, model: RegionCheck, region: str, recipe: Recipe) -> tuple[list[float], int, list[str]]:
        """Return the refusal rate on each other region, the number of images, and a warning for missing data."""
        rates, seen, missing = [], 0, 0
        for name in self.run.regions.names:
            if name == region:
                continue
            try:
                # with this expert's recipe
                images = self.data.part(name, "val", recipe=recipe, most=_MOST // 4).overviews
            except DataError:  # a site may lack the data of other regions
                missing += 1
                continue
            seen += len(images)
            rates += [rate for rate in [region_check.refusal_rate(model, images)] if rate is not None]
        text = f"the in-region check was not measured on {plural(missing, 'other region')}: their data cannot be read"
        return rates, seen, [text] if missing else []

    def _check_plain(self, network: Deployable, info: ExpertInfo) -> None:
        """Refuse keys or shapes that the described network does not have."""
        load_strict(fresh_network(info), network.network.state_dict(), Path(WEIGHTS))


def _batches(prepared: PreparedRegion) -> Iterator[Tensor]:
    for start in range(0, len(prepared), _BATCH):
        yield torch.from_numpy(np.array(prepared.images[start : start + _BATCH], order="C"))


def _evenly_spaced(prepared: PreparedRegion) -> PreparedRegion:
    return prepared.take(np.arange(len(prepared))[:: max(1, -(-len(prepared) // _MOST))])
