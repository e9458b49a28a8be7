"""One cell of a comparison: a method, a seed and a fraction of the training groups, trained and tested once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from lorkit.decompose.artifacts import (
    SCHEMA_VERSION,
    digest_json,
    is_current,
    load_tensors,
    read_json,
    save_tensors,
    write_json,
    write_manifest,
)
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.data.fractions import take_fraction
from lorkit.decompose.evaluation import logits_of
from lorkit.decompose.events import Listener
from lorkit.decompose.methods import get_method
from lorkit.decompose.metrics import HEADLINE
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.deployable import Deployable
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.pretraining import run_phase
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import get_task
from lorkit.decompose.training import Phase
from lorkit.decompose.workplace import working

Logits = Mapping[str, NDArray[np.float32]]
# Raised when the same cell would be trained or measured otherwise: stored ones are then done again.
_REVISION = 1
_BLOCK = ("n", "groups", *HEADLINE, "ci")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all cells of a comparison share.

    Attributes:
        regions: In routing order.
        train: Whole training parts, from which fractions are taken.
        val: Whole validation parts.
        test: Whole test parts.
        foundation: The teacher; None when no method needs one.
        digest: Digest of data, splits and foundation.
    """

    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    test: Mapping[str, PreparedRegion]
    foundation: Foundation | None
    digest: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A row of the comparison, and the logits (N, C) on the test part by region that it was scored from."""

    row: dict[str, Any]
    logits: Logits


def run_cell(config: Config, bench: Bench, root: Path, fabric: Fabric, on_event: Listener, *, fraction: float) -> Cell:
    """Read a cell that is there already, or train and test it; an interrupted one continues after its last epoch.

    Args:
        config: Settings with the method and seed of the cell.
        bench: Data and teacher.
        root: Directory of cells.
        fabric: A launched Fabric.
        on_event: Receives the progress of training.
        fraction: Of the training groups of each region.
    """
    inputs = digest_json(
        {"revision": _REVISION, "settings": config_digest(config), "bench": bench.digest, "fraction": fraction}
    )
    directory = root / inputs[:16]
    if not is_current(directory, "cell", inputs):
        with working(directory, resume=True, fabric=fabric) as place:
            live, seconds = _train(config, bench, place.checkpoints, fabric, on_event, fraction)
            head = {"method": config.method, "seed": config.seed, "fraction": fraction}
            cell = _measure(live, bench, head | {"train_seconds": seconds})
            place.finish(lambda staging: _write(staging, cell, inputs, bench.regions.synthetic))
    row = read_json(directory / "cell.json", kind="cell")["row"]
    return Cell(row=row, logits={name: value.numpy() for name, value in load_tensors(directory / _LOGITS).items()})


def block_of(region: PreparedRegion, logits: NDArray[np.float32]) -> dict[str, Any]:
    """Score logits on a prepared test part; the figures of an `evaluate` block without its tables."""
    found = get_task(region.region.task).scores(region.region, region.labels, logits, region.groups)
    return {name: found[name] for name in _BLOCK}


def cost_of(networks: Mapping[str, Deployable], shape: tuple[int, ...]) -> dict[str, int]:
    """Return `macs` and `deployed_bytes` of the largest of the regions' networks: what one machine has to carry."""
    tensors = [list(network.network.state_dict().values()) for network in networks.values()]
    return {
        "macs": max(count_macs(network, shape) for network in networks.values()),
        "deployed_bytes": max(sum(value.numel() * value.element_size() for value in values) for values in tensors),
    }


_LOGITS = "logits.safetensors"


def _train(
    config: Config, bench: Bench, checkpoints: Path, fabric: Fabric, on_event: Listener, fraction: float
) -> tuple[RegionalModel | SeparateModels, float]:
    method = get_method(config.method)
    train = {name: take_fraction(one, fraction, seed=config.seed) for name, one in bench.train.items()}
    models: dict[str, RegionalModel] = {}
    seconds = 0.0
    phases = method.phases(bench.regions)
    for regions in phases:
        name = config.method if len(phases) == 1 else f"{config.method}-{regions.names[0]}"
        phase = Phase(
            name=name,
            regions=regions,
            train={region: train[region] for region in regions.names},
            val={region: bench.val[region] for region in regions.names},
            settings=config.train,
            seed=config.seed,
            directory=checkpoints / name,
        )
        torch.manual_seed(config.seed)  # before anything is built, as `train` does
        module = method.build(config, regions, bench.foundation)
        teacher = bench.foundation if method.uses_teacher else None
        seconds += run_phase(module, phase, fabric, teacher, on_event).seconds
        models[regions.names[0]] = module.live.cpu()
    live = models[bench.regions.names[0]] if len(phases) == 1 else SeparateModels(models, bench.regions)
    return live.eval(), seconds


def _measure(live: RegionalModel | SeparateModels, bench: Bench, head: dict[str, Any]) -> Cell:
    networks = {name: live.deployable(name) for name in bench.regions.names}
    logits = {name: logits_of(network, bench.test[name]) for name, network in networks.items()}
    blocks = {name: block_of(bench.test[name], found) for name, found in logits.items()}
    shape = tuple(next(iter(bench.test.values())).images.shape[1:])
    row = {**head, "regions": blocks, "parameters": count_parameters(live), **cost_of(networks, shape)}
    return Cell(row=row, logits=logits)


def _write(staging: Path, cell: Cell, inputs: str, synthetic: bool) -> None:
    header = {"schema_version": SCHEMA_VERSION, "kind": "cell", "warnings": []}
    write_json(staging / "cell.json", {**header, "row": cell.row})
    save_tensors(staging / _LOGITS, {name: torch.from_numpy(value) for name, value in cell.logits.items()})
    write_manifest(staging, "cell", synthetic=synthetic, inputs=inputs)
