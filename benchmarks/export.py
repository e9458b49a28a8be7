"""Time of exports: fp32 beside `torch.onnx.export` of the same network, int8 at 224 pixels, aoti, and `verify`.

    decompose train && decompose extract --region chest && decompose export --region chest
    python benchmarks/export.py --run RUN --region chest --only fp32

fp32: the whole export of one expert, its comparison with torch included, and torch.onnx.export of the same network, in
turns within one process; the factor is the median of the paired ratios with its 95 % moving-block bootstrap interval,
after one turn that is not counted. int8: from the graph of an untrained ResNet-18 to a graph in int8, with calibration,
a comparison, and, since the outputs to compare with are made too large, the search over layers with all its retries.
aoti: the whole export of one expert, in a directory of its own each time. verify: the command in a process of its own,
imports included. Seconds of the clock and of all cores; other work on the machine changes the first. Prints one JSON
document with the parts of `--only`, by default all.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

from lorkit.decompose.errors import ParityError
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.runs import ExportSelection, exports_of, open_run
from lorkit.export.benchmarking.timing_statistics import paired_ratio
from lorkit.export.building.exporting import export
from lorkit.export.building.sources import networks_of_run
from lorkit.export.onnx.conversion import Tracer
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.precision import convert_precision
from lorkit.export.runtime.comparison_rules import Rule
from lorkit.export.runtime.parity import infer_all
from lorkit.export.runtime.reference_images import ReferenceImages, seeded_inputs

SHAPE, CLASSES, CALIBRATION, TRIED = (3, 224, 224), 4, 64, 48
TOO_LARGE = 9.0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", required=True, help="a run with an expert and its ONNX export")
    arguments.add_argument("--region", required=True)
    arguments.add_argument("--pairs", type=int, default=9)
    arguments.add_argument("--threads", type=int, default=2, help="threads of torch")
    arguments.add_argument("--only", help=f"parts to measure, by commas: {', '.join(PARTS)}")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    parts = list(PARTS) if options.only is None else options.only.split(",")
    if strange := [part for part in parts if part not in PARTS]:
        arguments.error(f"no part '{strange[0]}', but {', '.join(PARTS)}")
    found = {part: PARTS[part](options.run, options.region, options.pairs) for part in parts}
    print(json.dumps({"machine": fingerprint(), "versions": tool_versions(), **found}, indent=1))


def _fp32(run: str, region: str, pairs: int) -> dict[str, Any]:
    opened = open_run(run)
    (source,) = networks_of_run(opened, region, ("expert",))
    example = torch.rand(2, *source.shape)
    free = ({0: torch.export.Dim("batch", min=1, max=65536)},)

    def plain(folder: Path) -> None:
        torch.onnx.export(
            source.network, (example,), folder / "plain.onnx", dynamo=True, dynamic_shapes=free, verbose=False
        )

    def whole(folder: Path) -> None:
        export(run=opened.path, region=region, owners=("expert",), out=folder / "exports")

    rows = []
    for _ in range(pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            rows.append([_seconds(lambda one=one: one(Path(folder))) for one in (plain, whole)])
    clock_P2, cpu_P2 = np.moveaxis(np.array(rows[1:]), -1, 0)
    names = ("torch.onnx.export", "export")
    return {
        "seconds": dict(zip(names, np.median(clock_P2, 0).tolist(), strict=True)),
        "cpu_seconds": dict(zip(names, np.median(cpu_P2, 0).tolist(), strict=True)),
        "factor": _factor(clock_P2),
        "factor_cpu": _factor(cpu_P2),
    }


def _factor(times_P2: np.ndarray) -> list[float]:
    """Return how many times as long the second takes, and the interval."""
    ratio = paired_ratio(times_P2[:, 0], times_P2[:, 1])
    return [ratio.ratio, *ratio.ci]


def _int8(run: str, region: str, pairs: int) -> dict[str, Any]:
    """Time int8 of a network that no run has: run, region and repeats are not used."""
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", channels=SHAPE[0], image_size=SHAPE[1:])
    network = nn.Sequential(backbone, nn.Linear(512, CLASSES)).eval()
    model = ir.to_proto(Tracer().graph(network, channels=SHAPE[0], size=SHAPE[1:]))
    images = ReferenceImages(images=seeded_inputs(SHAPE, CALIBRATION), kind="phantom")
    (name,) = (value.name for value in model.graph.input)
    reference = infer_all(inferrer(model), {name: images.images[:TRIED]}, 8)

    def convert(factor: float) -> None:
        wanted = {output: factor * values for output, values in reference.items()}
        rules = {output: Rule() for output in wanted}
        try:
            convert_precision(model, "int8", scheme="asymmetric", calibration=images, reference=wanted, rules=rules)
        except ParityError:
            if factor == 1.0:
                raise

    found = {
        text: _seconds(lambda factor=factor: convert(factor))
        for text, factor in (("plain", 1.0), ("search", TOO_LARGE))
    }
    return {text: {"seconds": clock, "cpu_seconds": cpu} for text, (clock, cpu) in found.items()}


def _verified(run: str, region: str, repeats: int) -> dict[str, Any]:
    found = exports_of(open_run(run), ExportSelection(region=region, target="onnx", precision="fp32"))
    path = next(str(entry.path) for entry in found if entry.owner == "expert")
    words = [sys.executable, "-m", "lorkit", "verify", path]
    times_P2 = np.array(
        [_seconds(lambda: subprocess.run(words, check=True, capture_output=True)) for _ in range(repeats)]
    )
    clock, cpu = np.median(times_P2, 0).tolist()
    return {"seconds": clock, "cpu_seconds": cpu}


def _aoti(run: str, region: str, repeats: int) -> dict[str, Any]:
    opened, times = open_run(run), []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            times.append(
                _seconds(
                    lambda out=out: export(run=opened.path, region=region, owners=("expert",), target="aoti", out=out)
                )
            )
    return {"seconds": [clock for clock, _ in times], "cpu_seconds": [cpu for _, cpu in times]}


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of the clock and of all cores, child processes included."""
    begin, used = time.perf_counter(), _used()
    call()
    return time.perf_counter() - begin, _used() - used


def _used() -> float:
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in each)


PARTS: dict[str, Callable[[str, str, int], dict[str, Any]]] = {
    "fp32": _fp32,
    "int8": _int8,
    "aoti": _aoti,
    "verify": _verified,
}


if __name__ == "__main__":
    main()
