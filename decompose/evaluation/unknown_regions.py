"""The part of `evaluate` where a router chooses the region: scores, the confusion of regions, images of no region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data.keyed_digests import data_file
from lorkit.decompose.data.prepared import PreparedRegion, prepare
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.documents.evaluate import OutsideImages, RegionPrediction, RegionShare
from lorkit.decompose.documents.heads import HeadPolicy, Mixture
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.region_calibration import fit_region_predictor
from lorkit.decompose.evaluation.routed_evaluation import (
    RoutedScores,
    RunNetwork,
    live_router,
    region_confidences,
    score_routed,
)
from lorkit.decompose.metrics.bootstrap import Resampling, interval, resample
from lorkit.decompose.metrics.ranking import auroc
from lorkit.decompose.metrics.rates import mean_of_independent, mean_rate
from lorkit.decompose.models.region_predictor import ABSTAIN_BELOW
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.tasks.routed_answers import ABSTAINED

_REPLICATES = 1000


@dataclass(frozen=True)
class RunRouter:
    """A network of unknown regions of a run.

    Attributes:
        run: Images to outputs by name.
        regions: Its regions, in their order.
        recipe: The preprocessing of every image.
        policy: What its answer is.
        abstain_below: Confidence below which it gives none.
        source: `live`, or `extracted`.
    """

    run: RunNetwork
    regions: tuple[str, ...]
    recipe: Recipe
    policy: HeadPolicy
    abstain_below: float
    source: Literal["live", "extracted"]


def shared_recipe(splits: RunSplits) -> Recipe:
    """Return the preprocessing of all regions; raise UsageError if they differ, since the region decides it then."""
    recipes = {name: splits.recipe(name) for name in splits.run.regions.names}
    first, *others = recipes
    for name in others:
        if recipes[name] != recipes[first]:
            raise UsageError(
                f"regions '{first}' and '{name}' are prepared differently (window, intensity or size)",
                required="one preprocessing for all regions, because the region of an image is unknown",
                fix="state the same in both, or name the region",
            )
    return recipes[first]


def router_of_live_model(run: Run, model: RoutedModel, splits: RunSplits) -> RunRouter:
    """Return a run's trained model with a region predictor that is fitted on its training and validation parts.

    Raises:
        UsageError: Its regions are prepared differently.
        DataError: The parts cannot be read.
    """
    recipe = shared_recipe(splits)
    names = run.regions.names
    train, val = ({name: splits.part(name, part) for name in names} for part in ("train", "val"))
    policy = run.config.mola.heads
    network = live_router(model, fit_region_predictor(model, train, val), policy)
    return RunRouter(network, names, recipe, policy, ABSTAIN_BELOW, "live")


def router_of_network(network: nn.Module, mixture: Mixture, recipe: Recipe) -> RunRouter:
    """Return an extracted router, which is described by `mixture`, for images prepared by `recipe`."""

    @torch.inference_mode()
    def run(images: Float32Array) -> Mapping[str, Float32Array]:
        outputs = network(torch.tensor(images))
        return {name: value.numpy() for name, value in zip(mixture.output_names, outputs, strict=True)}

    names = tuple(head.region for head in mixture.heads)
    return RunRouter(run, names, recipe, mixture.policy, mixture.abstain_below or 0.0, "extracted")


def score_unknown(router: RunRouter, samples: Mapping[str, PreparedRegion]) -> dict[str, RoutedScores]:
    """Run a router on images of known regions without telling it which."""
    policy, abstain_below = router.policy, router.abstain_below
    return {
        name: score_routed(router.run, router.regions, one, policy=policy, abstain_below=abstain_below)
        for name, one in samples.items()
    }


def region_prediction(
    router: RunRouter, samples: Mapping[str, PreparedRegion], found: Mapping[str, RoutedScores]
) -> RegionPrediction:
    """Describe how a router predicts the regions of images; shares of right regions count every image."""
    shares: dict[str, RegionShare] = {}
    for name, scores in found.items():
        right_N1 = (scores.region_N == router.regions.index(name)).astype(np.float64)[:, None]
        rate = mean_rate(right_N1, samples[name].groups)
        shares[name] = RegionShare(n=len(right_N1), right=rate.value, ci=rate.ci)
    mean, ci = mean_of_independent([one.right for one in shares.values()], [one.ci for one in shares.values()])
    return RegionPrediction(
        source=router.source,
        policy=router.policy,
        abstain_below=router.abstain_below,
        regions=shares,
        right=mean,
        ci=(max(0.0, ci[0]), min(1.0, ci[1])),
        abstained=float(np.concatenate([scores.abstained_N for scores in found.values()]).mean()),
        confusion_by_region={
            name: _counts(router, scores.region_N, scores.abstained_N) for name, scores in found.items()
        },
    )


def evaluate_outside(
    router: RunRouter,
    path: Path,
    samples: Mapping[str, PreparedRegion],
    found: Mapping[str, RoutedScores],
    key: DirectoryKey,
) -> OutsideImages:
    """Measure a router on images of no region: how often it abstains, and how well its confidence tells them apart.

    Args:
        router: The router.
        path: A file or folder of images with labels; the labels only group the result.
        samples: Images of its regions.
        found: What it says of them.
        key: Of the digest of the file.

    Raises:
        DataError: The images cannot be read.
    """
    others = read_region("outside", RegionConfig(data=(str(path),)), base=Path.cwd(), dims=router.recipe.dims)
    outside = prepare(others, router.recipe)
    region_N, confidence_N = region_confidences(router.run, outside.images)
    abstained_N = confidence_N < router.abstain_below
    score_N = np.concatenate([*(scores.confidence_N for scores in found.values()), confidence_N])
    own_N = np.arange(len(score_N)) < len(score_N) - len(outside)
    groups = [f"{name}\t{group}" for name, one in {**samples, "": outside}.items() for group in one.groups]
    draws = resample(groups, seed=0, replicates=_REPLICATES)
    whole = Resampling(np.ones((1, draws.counts_RG.shape[1])), draws.group_N)
    ends = interval(auroc(own_N, score_N, draws))
    names = others.region.classes
    return OutsideImages(
        data=data_file(path, key),
        n=len(outside),
        abstained=float(abstained_N.mean()),
        auroc=float(auroc(own_N, score_N, whole)[0]),
        ci=None if ends is None else (ends[0], ends[1]),
        answered_as={
            names[label]: _counts(router, region_N[outside.labels == label], abstained_N[outside.labels == label])
            for label in np.unique(outside.labels)
        },
    )


def _counts(router: RunRouter, region_N: np.ndarray, abstained_N: np.ndarray) -> dict[str, int]:
    """Count images by the region that they are answered as, abstentions last."""
    answered_N = region_N[~abstained_N]
    return {
        **{name: int((answered_N == index).sum()) for index, name in enumerate(router.regions)},
        ABSTAINED: int(abstained_N.sum()),
    }
