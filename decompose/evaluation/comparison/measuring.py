"""Scores and costs of a trained or fitted method on the parts of a comparison."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from lorkit.decompose.config import Config
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.documents.compare import Exposure, TrainedCosts, UnknownRegion
from lorkit.decompose.documents.scores import TaskFigures
from lorkit.decompose.evaluation.comparison.comparison_data import ComparisonData
from lorkit.decompose.evaluation.comparison.costs import deployed_cost
from lorkit.decompose.evaluation.comparison.score_blocks import Parts, score_blocks
from lorkit.decompose.evaluation.comparison.unknown_region import score_without_regions
from lorkit.decompose.evaluation.inference import collect_score_inputs
from lorkit.decompose.evaluation.scoring import score_inputs
from lorkit.decompose.events import CacheStatistics, EpochRow, Listener, Notice
from lorkit.decompose.methods.graphs.base import FittedBaseline, FittedNodes, score_of
from lorkit.decompose.tasks import validation_name
from lorkit.decompose.training.phases import Trained

Evidence = dict[str, dict[str, NDArray[Any]]]
"""By part of the data: score inputs by region, those where the region is unknown, and the predicted regions."""
# before the name of a region, which has no slash
UNKNOWN, PREDICTED = "unknown/", "predicted/"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a cell holds of its method.

    Attributes:
        evidence: What its scores follow from.
        regions: Results by part and region.
        costs: Of deployment and training.
        exposure: By region; empty for methods without steps.
        history: Rows of the training.
        statistics: Of the teacher's cache.
        unknown: By part, the results where the region is unknown.
    """

    evidence: Evidence
    regions: dict[str, dict[str, TaskFigures]]
    costs: TrainedCosts
    exposure: dict[str, Exposure]
    history: list[EpochRow]
    statistics: list[CacheStatistics] = field(default_factory=list)
    unknown: Mapping[str, UnknownRegion] = field(default_factory=dict)


def scored_parts(data: ComparisonData) -> Parts:
    """Return the parts that cells are scored on: validation, and test unless settings are chosen."""
    return {"val": data.training_data.val} | ({"test": data.test} if data.test is not None else {})


def measure_trained(trained: Trained, exposure: dict[str, Exposure], data: ComparisonData, config: Config) -> Measured:
    """Score the networks of a training on every part."""
    networks = {name: trained.live.deployable(name) for name in data.training_data.regions.names}
    parts = scored_parts(data)
    evidence: Evidence = {
        split: {name: collect_score_inputs(network, part[name]) for name, network in networks.items()}
        for split, part in parts.items()
    }
    blocks = score_blocks(evidence, parts, data.policies)
    costs = TrainedCosts(
        **dict(deployed_cost((one.network for one in networks.values()), data.shape)),
        training_parameters=trained.parameters,
        training_macs=trained.macs,
        train_seconds=trained.seconds,
    )
    unknown = score_without_regions(trained.live, parts, config.mola.heads, data.policies)
    for split, found in unknown.items():
        evidence[split] |= {f"{UNKNOWN}{name}": value for name, value in found.score_inputs.items()}
        evidence[split] |= {f"{PREDICTED}{name}": value for name, value in found.predicted.items()}
    return Measured(
        evidence=evidence,
        regions=blocks,
        costs=costs,
        exposure=exposure,
        history=[row for end in trained.ends for row in end.history],
        statistics=trained.cache_statistics,
        unknown={split: found.document for split, found in unknown.items()},
    )


def measure_fitted(method: FittedBaseline, config: Config, data: ComparisonData, on_event: Listener) -> Measured:
    """Fit a baseline to every region, and score it on every part."""
    parts, training_data = scored_parts(data), data.training_data
    models: dict[str, FittedNodes] = {}
    history: list[EpochRow] = []
    for name, train in training_data.train.items():
        on_event(Notice(text=f"{method.name}: fits {name}"))
        started = time.perf_counter()
        models[name] = method.fit(config, train, training_data.val[name], on_event)
        seconds = time.perf_counter() - started
        history.append(_row(method.name, models[name], training_data.val[name], seconds))
    evidence: Evidence = {
        split: {name: score_inputs(one, slice(None), models[name].logits(one)) for name, one in part.items()}
        for split, part in parts.items()
    }
    blocks = score_blocks(evidence, parts, data.policies)
    costs = TrainedCosts(
        parameters=max(model.parameters for model in models.values()),
        macs=max(model.macs for model in models.values()),
        deployed_bytes=max(model.size for model in models.values()),
        training_parameters=sum(model.parameters for model in models.values()),
        training_macs=max(model.macs for model in models.values()),
        train_seconds=float(sum(row["seconds"] for row in history)),
    )
    exposure = {name: model.exposure for name, model in models.items() if model.exposure is not None}
    return Measured(evidence=evidence, regions=blocks, costs=costs, exposure=exposure, history=history)


def _row(method: str, model: FittedNodes, val: PreparedRegion, seconds: float) -> EpochRow:
    """Return the row of a fit in the history of its cell, like that of one epoch."""
    metric = validation_name([val.region])
    score = score_of(val, model.logits(val))
    return {
        "phase": method,
        "epoch": 0,
        "loss": {},
        "metric": metric,
        "val": {metric: {val.region.name: score}, "mean": score},
        "seconds": round(seconds, 3),
    }
