"""The verb `compare`: methods, seeds and training fractions in one harness, on the same split and the same teacher."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from lorkit.decompose.artifacts import SCHEMA_VERSION, digest_json, write_json, write_manifest
from lorkit.decompose.cells import Bench, Cell, block_of, cost_of, run_cell
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.data import RegionSamples, Splits, prepare, read_regions, split_regions
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation import logits_of
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.methods import get_method
from lorkit.decompose.metrics import PairedDrop, paired_difference
from lorkit.decompose.models.cost import count_parameters
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.pretraining import Material, foundation_for, foundation_inputs, with_probes
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training import launch
from lorkit.decompose.transforms import build_recipe

METRIC = "balanced_accuracy"
METHODS = ("stl", "mtl", "lorkd")


def compare(
    config: Config,
    *,
    methods: Sequence[str] = METHODS,
    seeds: Sequence[int] = (0,),
    fractions: Sequence[float] = (1.0,),
    out: Path | str = Path("comparisons"),
    on_event: Listener = ignore,
) -> dict[str, Any]:
    """Train and test every combination and compare methods on the same cases.

    Data, split and foundation are those of `config` (its seed decides them) for every cell; a cell's own seed decides
    initial weights, order, augmentation and which groups a fraction below 1 takes. The foundation is given, as in
    the papers: it has seen the whole training part, whatever the fraction. Finished cells are kept below
    `<out>/<id>/cells` and used again, so the same call continues an interrupted comparison and a longer list extends
    a finished one.

    Returns:
        A `compare` document, also stored as `<out>/<id>/comparison.json`. `rows`: one a cell, its test figures by
        region, `parameters` of the whole model in training, `macs` and `deployed_bytes` of what one region deploys,
        `train_seconds` without the foundation's. `pairs`: for each two methods and fraction, what the second
        (`candidate`) loses against the first (`baseline`) in balanced accuracy on the same cases, hits averaged over
        seeds, with 95 % intervals over groups. `table`: means over seeds. `foundation`: the teacher itself, where a
        method needs one.

    Raises:
        UsageError: An unknown or repeated method, no seed, or a fraction outside (0, 1].
    """
    _check(methods, seeds, fractions)
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=config.seed)
    directory = Path(out) / f"{config.name}-{_identity(config, samples)[:8]}"
    fabric = launch(config.train)
    bench, teacher = _bench(config, samples, splits, methods, Path(out).parent / "foundations", fabric, on_event)
    cells: dict[tuple[str, int, float], Cell] = {}
    grid = list(itertools.product(fractions, seeds, methods))
    for index, (fraction, seed, method) in enumerate(grid):
        text = f"cell {index + 1} of {len(grid)}: {method}, seed {seed}, fraction {fraction:g}"
        on_event(Notice(text=text))
        own = config.model_copy(update={"method": method, "seed": seed})
        cells[method, seed, fraction] = run_cell(own, bench, directory / "cells", fabric, on_event, fraction=fraction)
    document = _document(config, bench, teacher, cells, methods, seeds, fractions)
    if fabric.is_global_zero:
        write_json(directory / "comparison.json", document)
        write_manifest(directory, "comparison", synthetic=bench.regions.synthetic, outside=("cells",))
    return document


def _check(methods: Sequence[str], seeds: Sequence[int], fractions: Sequence[float]) -> None:
    for method in methods:
        get_method(method)
    for name, values in (("methods", methods), ("seeds", seeds), ("fractions", fractions)):
        if not values or len(set(values)) != len(values):
            raise UsageError(
                f"--{name} {','.join(map(str, values))}", required="one or more distinct values", fix="correct the list"
            )
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise UsageError(f"--fractions {fraction:g}", required="above 0, at most 1", fix="correct the list")


def _identity(config: Config, samples: Mapping[str, RegionSamples]) -> str:
    """Digest what all cells share, so that a longer list of methods finds the cells of a shorter one."""
    settings = config_digest(config.model_copy(update={"method": METHODS[0]}))
    return digest_json({"settings": settings, "data": {name: one.digest for name, one in samples.items()}})


def _bench(
    config: Config,
    samples: Mapping[str, RegionSamples],
    splits: Splits,
    methods: Sequence[str],
    root: Path,
    fabric: Fabric,
    on_event: Listener,
) -> tuple[Bench, dict[str, Any] | None]:
    recipes = {name: build_recipe(config.image, config.regions[name]) for name in samples}
    train, val, test = (
        {name: prepare(one, recipes[name], indices=splits.parts(name)[part]) for name, one in samples.items()}
        for part in ("train", "val", "test")
    )
    regions = RegionSet(one.region for one in samples.values())
    digests = {name: one.digest for name, one in samples.items()}
    material = Material(regions=regions, train=train, val=val, digests=digests)
    foundation = None
    if any(get_method(method).uses_teacher for method in methods):
        found, _ = foundation_for(config, material, root, fabric, on_event, resume=True)
        foundation = with_probes(found, material, on_event)
    # what decides a cell besides its own settings; samples' digests hold labels and groups, not only pixels
    shared = {"data": digests, "split": splits.to_json(samples)["regions"]}
    digest = digest_json(shared | {"foundation": foundation_inputs(config, material)})
    bench = Bench(regions=regions, train=train, val=val, test=test, foundation=foundation, digest=digest)
    return bench, _teacher(foundation, bench) if foundation else None


def _teacher(foundation: Foundation, bench: Bench) -> dict[str, Any]:
    networks = {name: foundation.model.deployable(name) for name in bench.regions.names}
    blocks = {
        name: block_of(bench.test[name], logits_of(network, bench.test[name])) for name, network in networks.items()
    }
    shape = tuple(next(iter(bench.test.values())).images.shape[1:])
    return {
        "backbone": foundation.backbone,
        "heads": dict(foundation.heads),
        "regions": blocks,
        "parameters": count_parameters(foundation.model),
        **cost_of(networks, shape),
    }


def _document(
    config: Config,
    bench: Bench,
    teacher: dict[str, Any] | None,
    cells: Mapping[tuple[str, int, float], Cell],
    methods: Sequence[str],
    seeds: Sequence[int],
    fractions: Sequence[float],
) -> dict[str, Any]:
    few = f"{len(seeds)} seed(s): the intervals of `pairs` cover cases, not the luck of training"
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "compare",
        "warnings": [few] if len(seeds) < 3 else [],
        "name": config.name,
        "machine": fingerprint(),
        "synthetic": bench.regions.synthetic,
        "split": "test",
        "foundation": teacher,
        "rows": [cell.row for cell in cells.values()],
        "pairs": [
            _pair(bench, cells, baseline, candidate, seeds, fraction)
            for fraction in fractions
            for baseline, candidate in itertools.combinations(methods, 2)
        ],
        "table": [
            _summary([cells[method, seed, fraction].row for seed in seeds])
            for fraction in fractions
            for method in methods
        ],
    }


def _pair(
    bench: Bench,
    cells: Mapping[tuple[str, int, float], Cell],
    baseline: str,
    candidate: str,
    seeds: Sequence[int],
    fraction: float,
) -> dict[str, Any]:
    drops = {}
    for name, test in bench.test.items():
        sides = []
        for method in (baseline, candidate):
            hits = [cells[method, seed, fraction].logits[name].argmax(1) == test.labels for seed in seeds]
            sides.append(np.mean(hits, axis=0))
        drops[name] = paired_difference(test.labels, sides[0], sides[1], test.groups)
    return {
        "baseline": baseline,
        "candidate": candidate,
        "fraction": fraction,
        "seeds": list(seeds),
        "metric": METRIC,
        "regions": {name: drop.to_json() for name, drop in drops.items()},
        "mean": _mean_drop(list(drops.values())),
    }


def _mean_drop(drops: Sequence[PairedDrop]) -> dict[str, Any]:
    """Average over regions; their patients are different ones, so half-widths add as independent errors do."""
    drop = sum(one.drop for one in drops) / len(drops)
    half = math.hypot(*(one.decidable for one in drops)) / len(drops)
    return {"drop": drop, "ci": [drop - half, drop + half], "decidable": half}


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average the rows of one method and fraction over seeds."""
    names = list(rows[0]["regions"])
    values = np.array([[row["regions"][name][METRIC] for name in names] for row in rows], dtype=np.float64)
    means = values.mean(1)
    return {
        "method": rows[0]["method"],
        "fraction": rows[0]["fraction"],
        "seeds": len(rows),
        METRIC: float(means.mean()),
        "sd": float(means.std(ddof=1)) if len(rows) > 1 else None,
        "regions": dict(zip(names, values.mean(0).tolist(), strict=True)),
        **{key: rows[0][key] for key in ("parameters", "macs", "deployed_bytes")},
        "train_seconds": float(np.mean([row["train_seconds"] for row in rows])),
    }
