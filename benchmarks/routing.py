"""What networks of several regions cost beside the merged network of one region, and a training step of MoLA-Grad.

    python benchmarks/routing.py --out routing.json --markdown routing.md

ONNX Runtime on one thread, untrained networks (weights do not change latency). Every cycle times every graph of one
configuration once in a new random order; a factor is the median of the paired ratios within cycles to the merged graph,
with its 95 % moving-block bootstrap interval. The images of a batch are of all regions in turn.

- region-id: as mola-grad trains it (norms shared), and with norms by region, the default of lorkd.
- router: the default router of mola-router, on the backbone's early features, one adapter per region.
- adapters: one base whose factors are inputs; all images are of one region. `load` is the time to read the adapter file
  of another region and set it for a session that runs, `switch` the additional time of the first run with it.
- training: one optimiser step of mola-grad relative to lorkd without its teacher, also with the same norms.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from lorkit.decompose.artifacts.arrays import Floats
from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.documents.heads import IMAGE, REGION
from lorkit.decompose.experts import pack_
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.cost import count_macs, count_parameters
from lorkit.decompose.models.deployed_mixtures import region_id_network, router_network
from lorkit.decompose.models.mixtures.adapters import AdapterNetwork
from lorkit.decompose.models.region_predictor import RegionPredictor
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.step import OptimizerStep
from lorkit.export.benchmarking.interleaving import TimedEngine, time_interleaved, warm_up
from lorkit.export.benchmarking.timing_statistics import paired_ratio
from lorkit.export.onnx.conversion import to_onnx
from lorkit.export.targets.onnx import PROVIDER, session_options
from lorkit.export.targets.onnx_adapters.target import adapter_name, write_adapters

BACKBONES = ("resnet18", "shufflenet_v2_x1_0")
ADAPTERS, RANKS, BATCHES = (4, 11), (4, 8), (1, 8)
CLASSES, CHANNELS = 5, 3
MERGED = "merged"
GOALS = {"region-id": 1.3, "router": 1.5, "switch_ms": 5.0, "training": 1.0}
"""Of 4 adapters of rank 4."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--backbones", nargs="+", default=BACKBONES)
    arguments.add_argument("--adapters", type=int, nargs="+", default=ADAPTERS)
    arguments.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    arguments.add_argument("--size", type=int, default=224, help="side of the images of the graphs")
    arguments.add_argument(
        "--cycles", type=int, default=120, help="of batch 1; a third of it, and 40 at least, for others"
    )
    arguments.add_argument("--steps", type=int, default=40, help="pairs of training steps")
    arguments.add_argument("--out", type=Path, help="write the JSON document with raw samples to this file")
    arguments.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    document: dict[str, Any] = {
        "benchmark": "routing",
        "date": datetime.date.today().isoformat(),
        "machine": fingerprint(),
        "tools": tool_versions(),
        "size": options.size,
        "goals": GOALS,
        "graphs": [],
        "training": [],
    }
    for backbone in options.backbones:
        for adapters in options.adapters:
            for rank in options.ranks:
                with tempfile.TemporaryDirectory() as folder:
                    document["graphs"] += graphs(backbone, adapters, rank, options.size, options.cycles, Path(folder))
        document["training"] += training(backbone, options.steps)
        if options.out:
            options.out.write_text(json.dumps(document), encoding="utf-8")
    text = markdown(document)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(json.dumps(summary(document), indent=1))
    print(text)


def config_of(backbone: str, adapters: int, *settings: str, size: int, method: str) -> Config:
    data = ", ".join(f"r{index}: {{data: x}}" for index in range(adapters))
    words = [f"regions={{{data}}}", f"image.size={size}", f"image.channels={CHANNELS}", f"student.backbone={backbone}"]
    return default_config(overrides=[*words, *settings], method=method)


def regions_of(count: int) -> RegionSet:
    classes = tuple(f"c{index}" for index in range(CLASSES))
    return RegionSet(Region(name=f"r{index}", classes=classes) for index in range(count))


def model_of(backbone: str, adapters: int, method: str, *settings: str, size: int) -> RegionalModel:
    """Build an untrained model whose updates are not zero, which a runtime could notice."""
    torch.manual_seed(0)
    config = config_of(backbone, adapters, *settings, size=size, method=method)
    model = cast(RegionalModel, get_method(method).build(config, regions_of(adapters), None).live).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if ".up." in name:
                value.normal_(0, 0.02)
    return model


def graphs(backbone: str, adapters: int, rank: int, size: int, cycles: int, folder: Path) -> list[dict[str, Any]]:
    """Time the graphs of one configuration at every batch size."""
    shape, word = (CHANNELS, size, size), f"mola.rank={rank}"
    shared = model_of(backbone, adapters, "mola-grad", word, size=size)
    by_region = model_of(backbone, adapters, "mola-grad", word, "mola.norm=region", size=size)
    routed = cast(RoutedModel, model_of(backbone, adapters, "mola-router", word, size=size))
    by_id = region_id_network(shared, shape)
    networks: dict[str, nn.Module] = {
        MERGED: shared.deployable("r0"),
        "region-id": by_id,
        "region-id, norms by region": region_id_network(by_region, shape),
        "router": router_network(routed, RegionPredictor(copy.deepcopy(routed.region_head)), "routed"),
    }
    sessions = {}
    for name, network in networks.items():
        path = folder / f"{len(sessions)}.onnx"
        to_onnx(network, path, channels=CHANNELS, size=(size, size), metadata={})
        sessions[name] = (session(path), path.stat().st_size, count_macs(network, shape), count_parameters(network))
    write_adapters(AdapterNetwork(by_id), shape, folder)
    rows = []
    for batch in BATCHES:
        runs, base = engines({name: one[0] for name, one in sessions.items()}, folder, adapters, batch, size)
        for engine in runs:
            warm_up(engine)
        count = cycles if batch == 1 else max(40, cycles // 3)
        times_PA = time_interleaved(runs, count, runs=1, generator=np.random.default_rng(0))
        about = {"backbone": backbone, "adapters": adapters, "rank": rank, "batch": batch}
        for at, engine in enumerate(runs):
            _, size_bytes, macs, parameters = sessions.get(engine.name, (None, base, None, None))
            rows.append({**about, **row_of(engine.name, times_PA[:, at], times_PA[:, 0]), "bytes": size_bytes,
                         "macs": macs, "parameters": parameters})  # fmt: skip
        rows[-1] |= switches(folder, adapters, batch, size, count)
        print(f"{backbone}, {adapters} adapters of rank {rank}, batch {batch}: "
              + ", ".join(f"{row['graph']} {row['ratio']:.2f}" for row in rows[-len(runs) + 1 :]))  # fmt: skip
    return rows


def session(path: Path) -> Any:
    import onnxruntime  # after lorkit, which turns its telemetry off

    return onnxruntime.InferenceSession(str(path), session_options(1, PROVIDER), providers=[PROVIDER])


def engines(
    sessions: dict[str, Any], folder: Path, adapters: int, batch: int, size: int
) -> tuple[list[TimedEngine], int]:
    """Return the graphs to time, and the bytes of the base with its adapters."""
    random = np.random.default_rng(batch)
    images = [random.random((batch, CHANNELS, size, size), dtype=np.float32) for _ in range(3)]
    region = np.arange(batch) % adapters
    found = []
    for name, one in sessions.items():
        inputs = [{IMAGE: image} | ({REGION: region} if name.startswith("region-id") else {}) for image in images]
        found.append(TimedEngine(name, lambda given, one=one: one.run(None, given), inputs))
    base, options = session(folder / "base.onnx"), [run_options(folder, index)[1] for index in range(adapters)]
    given = [(image, options[0]) for image in images]
    found.append(TimedEngine("adapters", lambda pair: base.run(None, {IMAGE: pair[0]}, pair[1]), given))
    return found, sum(path.stat().st_size for path in folder.glob("base.*"))


_HELD: list[Any] = []


def run_options(folder: Path, index: int) -> tuple[float, Any]:
    """Read an adapter file and name it for runs; return the milliseconds, and the options."""
    import onnxruntime

    began = time.perf_counter()
    adapter, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    adapter.Load(str(folder / adapter_name(f"r{index}")))
    options.add_active_adapter(adapter)
    spent = 1000 * (time.perf_counter() - began)
    _HELD.append(adapter)  # the options only point to it
    return spent, options


def row_of(name: str, times_P: Floats, merged_P: Floats) -> dict[str, Any]:
    found = paired_ratio(merged_P, times_P)
    return {
        "graph": name,
        "ms": float(np.median(times_P)),
        "ratio": found.ratio,
        "ci": list(found.ci),
        "samples_ms": times_P.tolist(),
    }


def switches(folder: Path, adapters: int, batch: int, size: int, count: int) -> dict[str, float]:
    """Time reading an adapter, and the additional time of a run with another adapter than the run before."""
    base = session(folder / "base.onnx")
    image = np.random.default_rng(0).random((batch, CHANNELS, size, size), dtype=np.float32)
    loads = [run_options(folder, index % adapters)[0] for index in range(count)]
    options = [run_options(folder, index)[1] for index in range(adapters)]

    def spent(index: int) -> float:
        began = time.perf_counter()
        base.run(None, {IMAGE: image}, options[index])
        return 1000 * (time.perf_counter() - began)

    spent(0)
    first, again = zip(*((spent(index % adapters), spent(index % adapters)) for index in range(1, count)), strict=True)
    extra = [one - other for one, other in zip(first, again, strict=True)]
    return {"load_ms": statistics.median(loads), "switch_ms": statistics.median(extra)}


def training(backbone: str, pairs: int, *, adapters: int = 4, rank: int = 4, batch: int = 32, size: int = 64) -> Any:
    """Time training steps of mola-grad and of lorkd without a teacher."""
    arms = {
        "lorkd": ("lorkd", f"lorkd.rank={rank}"),
        "mola-grad": ("mola-grad", f"mola.rank={rank}"),
        "mola-grad, norms by region": ("mola-grad", f"mola.rank={rank}", "mola.norm=region"),
    }
    steps = {name: step_of(backbone, adapters, batch, size, *words) for name, words in arms.items()}
    runs = [TimedEngine(name, step, [None]) for name, step in steps.items()]
    for run in runs:
        run.run(None)
    times_PA = time_interleaved(runs, pairs, runs=1, generator=np.random.default_rng(0))
    about = {"backbone": backbone, "adapters": adapters, "rank": rank, "batch": batch, "size": size}
    return [{**about, **row_of(run.name, times_PA[:, at], times_PA[:, 0])} for at, run in enumerate(runs)]


def step_of(backbone: str, adapters: int, batch: int, size: int, method: str, *words: str) -> Callable[[Any], object]:
    """Return an optimiser step on one batch of all regions, sorted and of equal parts."""
    torch.manual_seed(0)
    config = config_of(backbone, adapters, *words, size=size, method=method)
    module = get_method(method).build(config, regions_of(adapters), None).train()
    step = OptimizerStep(module, config.train, launch(config.train))
    pack_(module.live)  # as training does
    region = torch.arange(batch) * adapters // batch
    images = torch.rand(batch, CHANNELS, size, size, generator=torch.Generator().manual_seed(1))
    data = Batch(image=images, label=torch.arange(batch) % CLASSES, region=region, sample=torch.arange(batch))
    return lambda _: step.step(data, 1e-3)


def summary(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without raw samples."""
    plain = [{key: value for key, value in row.items() if key != "samples_ms"} for row in document["graphs"]]
    steps = [{key: value for key, value in row.items() if key != "samples_ms"} for row in document["training"]]
    return {**document, "graphs": plain, "training": steps}


def markdown(document: dict[str, Any]) -> str:
    lines = [
        "| backbone | adapters | rank | batch | graph | median ms | times merged | MB | adapter: read, switch ms |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in document["graphs"]:
        switch = f"{row['load_ms']:.2f}, {row['switch_ms']:.2f}" if "load_ms" in row else ""
        cells = [row["backbone"], row["adapters"], row["rank"], row["batch"], row["graph"], f"{row['ms']:.2f}"]
        lines.append(_line([*cells, _ratio(row), f"{row['bytes'] / 1e6:.1f}", switch]))
    lines += ["", "| backbone | training step | median ms | times lorkd without teacher |", "|---|---|---:|---:|"]
    lines += [_line([row["backbone"], row["graph"], f"{row['ms']:.0f}", _ratio(row)]) for row in document["training"]]
    return "\n".join(lines) + "\n"


def _ratio(row: dict[str, Any]) -> str:
    return f"{row['ratio']:.2f} [{row['ci'][0]:.2f}, {row['ci'][1]:.2f}]"


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
