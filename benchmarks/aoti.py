"""Time of AOTInductor exports on this CPU by part, and the effect of a fixed batch of one image.

    decompose train && decompose extract --region chest
    python benchmarks/aoti.py --run RUN --region chest

A compilation is divided into runs of the C++ compiler, by what they compile, and the rest, which is torch's. The code
between the kernels ("wrapper") is compiled with and without optimisation; both are timed interleaved with each other
and with a repetition of the first. Then one network with a free batch and with a batch of one image is timed at several
sizes and numbers of threads, interleaved in one process. Factors are medians of paired ratios with their 95 %
moving-block bootstrap interval. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch._inductor
from torch._inductor import config

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.runs import experts_of, open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.export.benchmarking.interleaving import TimedEngine, random_inputs, time_interleaved, warm_up
from lorkit.export.benchmarking.timing_statistics import paired_ratio
from lorkit.export.targets.aoti import compilation as compiling
from lorkit.export.targets.quiet import quiet

LEVELS = {"optimised": "O1", "plain": "O0", "optimised again": "O1", "plain again": "O0"}
SEED = 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", required=True, help="a run with an extracted expert of 2D images")
    arguments.add_argument("--region", required=True)
    arguments.add_argument("--sizes", default="32,224", help="pixels per side")
    arguments.add_argument("--threads", default="1,2")
    arguments.add_argument("--cycles", type=int, default=60)
    options = arguments.parse_args()
    run = open_run(options.run)
    network = load_expert(experts_of(run, options.region)[options.region]).network.eval()
    channels = len(network.normalise.mean.flatten())
    sizes, threads = ([int(part) for part in text.split(",")] for text in (options.sizes, options.threads))
    with tempfile.TemporaryDirectory() as folder:
        document = {
            "machine": fingerprint(),
            "tools": tool_versions(),
            "run": run.id,
            "cycles": options.cycles,
            "compilation": _compilation(network, (channels, sizes[0], sizes[0]), Path(folder), options.cycles),
            "batch": [
                row for size in sizes for row in _batch(network, (channels, size, size), Path(folder), threads, options)
            ],
        }
    print(json.dumps(document))


def _compilation(network: torch.nn.Module, shape: tuple[int, ...], folder: Path, cycles: int) -> dict[str, Any]:
    rows, packages = [], {}
    for name, level in LEVELS.items():
        packages[name] = folder / f"{level}-{len(rows)}.pt2"
        begin = time.perf_counter()
        with config.patch({"aot_inductor.compile_wrapper_opt_level": level}), _compiler_seconds() as seconds:
            compiling.compile_network(network, packages[name], shape, precision="fp32", device="cpu")
        rows.append({"wrapper": name, "seconds": time.perf_counter() - begin, "compiler_seconds": dict(seconds)})
    torch.set_num_threads(1)
    calls = {name: _loaded(path) for name, path in packages.items()}
    return {"rows": rows, "one_thread": _timed(calls, (1, *shape), cycles)}


def _batch(
    network: torch.nn.Module, shape: tuple[int, ...], folder: Path, threads: Sequence[int], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    free, fixed = folder / f"free-{shape[-1]}.pt2", folder / f"fixed-{shape[-1]}.pt2"
    compiling.compile_network(network, free, shape, precision="fp32", device="cpu")
    with quiet("torch", logging.CRITICAL), torch.no_grad():
        program = torch.export.export(network, (torch.zeros(1, *shape),), strict=False)
        compiling._compile(program, fixed, on_cpu=True, layouts=True)
    calls = {"free": _loaded(free), "fixed": _loaded(fixed)}
    for count in threads:
        torch.set_num_threads(count)
        yield {"shape": list(shape), "threads": count, **_timed(calls, (1, *shape), options.cycles)}


@contextmanager
def _compiler_seconds() -> Iterator[Counter[str]]:
    """Return the seconds of child processes by what they compile."""
    seconds: Counter[str] = Counter()
    run = subprocess.run

    def timed(command: Sequence[str], *rest: Any, **settings: Any) -> Any:
        begin = time.perf_counter()
        try:
            return run(command, *rest, **settings)
        finally:
            words = " ".join(map(str, command))
            kinds = [kind for kind in ("wrapper", "kernel") if f".{kind}.cpp" in words]
            seconds[kinds[0] if kinds else "other"] += time.perf_counter() - begin

    with mock.patch.object(subprocess, "run", timed):
        yield seconds


def _loaded(path: Path) -> Callable[[Float32Array], object]:
    with quiet("torch", logging.CRITICAL):
        compiled = torch._inductor.aoti_load_package(str(path))
    return lambda images: compiled(torch.from_numpy(images))


def _timed(calls: dict[str, Callable[[Float32Array], object]], shape: tuple[int, ...], cycles: int) -> dict[str, Any]:
    """Time engines interleaved; factors are relative to the first."""
    arms = [TimedEngine(name, call, random_inputs(shape, seed=SEED)) for name, call in calls.items()]
    for arm in arms:
        warm_up(arm, limit_seconds=3)
    times_PA = time_interleaved(arms, cycles, runs=1, generator=np.random.default_rng(SEED))
    ratios = [paired_ratio(times_PA[:, 0], times_PA[:, index], seed=SEED) for index in range(1, len(arms))]
    return {
        "median_ms": {arm.name: float(np.median(times_PA[:, index])) for index, arm in enumerate(arms)},
        "factors": {arm.name: [ratio.ratio, *ratio.ci] for arm, ratio in zip(arms[1:], ratios, strict=True)},
    }


if __name__ == "__main__":
    main()
