"""Time saved by storing the teacher's features: epochs of rd and drd on real images, with and without the cache.

    python benchmarks/teacher_cache.py --data ../shared/data/medical/brain/brain_tumor_mri.npz --out teacher_cache.json

Both trainings use the same seeds in alternating order; a ratio is the median over rounds of paired ratios. The first
epoch with a cache runs the teacher and writes, later ones read. The result also states whether both end with identical
weights. The teacher's weights are random, which changes neither times nor sizes. Run it on an idle machine. Prints one
JSON document.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data import PreparedRegion, prepare, read_regions
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.events import Finished, ignore
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.feature_cache import feature_cache_factory
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.epochs import fit
from lorkit.decompose.training.loop.phase import Phase

VAL = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images and labels of one region")
    parser.add_argument("--images", type=int, default=512, help="training images, chosen at random")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3, help="pairs of trainings")
    parser.add_argument("--views", type=int, help="views of the augmentation; none by default")
    parser.add_argument("--methods", default="rd,drd")
    parser.add_argument("--teacher", default="resnet50")
    parser.add_argument("--student", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = configured(options)
    parts = read(config, options.images)
    fabric = launch(config.train)
    document = {
        "benchmark": "teacher_cache",
        "date": datetime.date.today().isoformat(),
        "machine": fingerprint(),
        "threads": options.threads,
        "images": options.images,
        "epochs": options.epochs,
        "batch_size": config.train.batch_size,
        "size": options.size,
        "teacher": options.teacher,
        "student": options.student,
        "views": options.views,
        "methods": {name: measure(config, name, parts, fabric, options.rounds) for name in options.methods.split(",")},
    }
    text = json.dumps(document, indent=1)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def configured(options: argparse.Namespace) -> Config:
    augment = "null" if options.views is None else f"{{views: {options.views}}}"
    return default_config(
        overrides=[
            f"regions={{brain: {{data: {options.data.resolve()}}}}}",
            f"image={{size: {options.size}, channels: 1}}",
            f"foundation.backbone={options.teacher}",
            f"student.backbone={options.student}",
            f"train={{epochs: {options.epochs}, batch_size: 64, augment: {augment}, warmup_epochs: 0}}",
            "cache={enabled: true, budget: 100000}",
        ]
    )


def read(config: Config, images: int) -> dict[str, PreparedRegion]:
    (samples,) = read_regions(config).values()
    order = np.random.default_rng(0).permutation(len(samples))
    recipe = build_recipe(config.image, config.regions["brain"])
    rows = {"train": order[:images], "val": order[images : images + VAL]}
    return {part: prepare(samples, recipe, indices=chosen) for part, chosen in rows.items()}


def measure(base: Config, method: str, parts: dict[str, PreparedRegion], fabric: Fabric, rounds: int) -> dict[str, Any]:
    """Train with and without the cache `rounds` times and compare the epochs."""
    config = base.model_copy(update={"method": method})
    train(config, parts, fabric, cached=False, seed=0, epochs=1)  # warms up
    pairs, same = [], True
    for seed in range(rounds):
        order = (False, True) if seed % 2 else (True, False)
        ends = {cached: train(config, parts, fabric, cached=cached, seed=seed) for cached in order}
        same &= all(torch.equal(value, ends[True][1][name]) for name, value in ends[False][1].items())
        pairs.append((ends[False][0], ends[True][0]))
        print(f"{method}: round {seed + 1} of {rounds}", file=sys.stderr)
    views = config.train.augment.views or 1 if config.train.augment is not None else 1
    plain = [statistics.fmean(row["seconds"] for row in uncached) for uncached, _ in pairs]
    first = [cached[0] for _, cached in pairs]
    later = [cached[views:] for _, cached in pairs]
    reading = [statistics.fmean(row["seconds"] for row in rows) for rows in later]
    return {
        "uncached_epoch_s": statistics.median(plain),
        "first_cached_epoch_s": statistics.median(row["seconds"] for row in first),
        "teacher_s_of_it": statistics.median(row["teacher"]["asked_seconds"] for row in first),
        "read_epoch_s": statistics.median(reading),
        "reading_s_of_it": statistics.median(row["teacher"]["read_seconds"] for rows in later for row in rows),
        "cost_of_first_epoch": ratio([row["seconds"] for row in first], plain),
        "speed_up_of_later_epochs": ratio(plain, reading),
        "speed_up_of_training": ratio(
            [sum(row["seconds"] for row in uncached) for uncached, _ in pairs],
            [sum(row["seconds"] for row in cached) for _, cached in pairs],
        ),
        "kept_mib": round(sum(row["teacher"]["kept_bytes"] for row in pairs[0][1]) / 2**20, 2),
        "same_bits": same,
    }


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    """Return the median of paired ratios and their range."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return {"median": round(statistics.median(found), 3), "least": round(min(found), 3), "most": round(max(found), 3)}


def train(
    config: Config,
    parts: dict[str, PreparedRegion],
    fabric: Fabric,
    *,
    cached: bool,
    seed: int,
    epochs: int | None = None,
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Train once; return the rows of its epochs and its weights."""
    settings = config.train if epochs is None else config.train.model_copy(update={"epochs": epochs})
    config = config.model_copy(update={"seed": seed})
    regions = RegionSet([parts["train"].region])
    torch.manual_seed(seed)
    foundation = Foundation(
        model=shared_network(config, config.foundation.backbone, regions).eval(),
        backbone=config.foundation.backbone,
        regions=regions,
        heads=dict.fromkeys(regions.names, "own"),
        image=config.image.model_dump(mode="json"),
    )
    module = get_method(config.method).build(config, regions, foundation)
    train_parts = {"brain": parts["train"]}
    with tempfile.TemporaryDirectory() as place:
        keeper = None
        if cached:
            keeper = feature_cache_factory(config, train_parts, Path(place), asked=True, on_event=ignore)
        phase = Phase(
            name=config.method,
            regions=regions,
            train=train_parts,
            val={"brain": parts["val"]},
            settings=settings,
            seed=seed,
            directory=Path(place) / "checkpoints",
            cache_factory=keeper,
        )
        *_, event = fit(module, phase, fabric, teachers=[foundation])
    assert isinstance(event, Finished)
    return [dict(row) for row in event.history], dict(module.state_dict())


if __name__ == "__main__":
    main()
