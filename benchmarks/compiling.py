"""Whether `train.compile` shortens the training steps of experts on the CPU.

    python benchmarks/compiling.py [--networks resnet18,shufflenet_v2_x1_0] [--threads 1] [--rounds 7]

Whole steps as in `benchmarks/experts.py`: eight regions, rank 8, norms by region, batch 64. The plain network and the
one with experts are compiled as training does it, and each takes turns with the plain network's eager step. The first
step, which compiles, is timed apart. Prints Markdown.
"""

from __future__ import annotations

import argparse
import time
from types import SimpleNamespace
from typing import cast

import torch
from experts import experts, paired, plain, step_of

from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.training.loop.compiling import compiled


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--networks", default="resnet18,shufflenet_v2_x1_0", help="comma-separated")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=7)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    print("| network | step | relative to plain, not compiled | quartiles | ms | first step, s |")
    print("|---|---|---:|---|---:|---:|")
    for name in options.networks.split(","):
        for title, regions in (("plain", 0), ("experts", 8)):
            for compiles in (False, True):
                if title == "experts" or compiles:
                    print(row(name, title, regions, compiles, options.rounds), flush=True)


def row(name: str, title: str, regions: int, compiles: bool, rounds: int) -> str:
    """Time steps of one network against the eager steps of the plain one."""
    baseline = step_of(plain(name), None, name, 64)
    model, routing = experts(name, regions=regions) if regions else (plain(name), None)
    step = step_of(model, routing, name, 64, loose=compiles)
    if not compiles:
        return _row(name, title, paired(baseline, step, rounds), None)
    live = cast(RegionalModel, SimpleNamespace(backbone=model, forks=()))
    with compiled(live, torch.device("cpu")):
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
        return _row(name, f"{title}, compiled", paired(baseline, step, rounds), seconds)


def _row(name: str, title: str, found: dict[str, float | list[float]], seconds: float | None) -> str:
    low, high = cast(list[float], found["quartiles"])
    first = "" if seconds is None else f"{seconds:.0f}"
    return (
        f"| {name} | {title} | {found['ratio']:.2f} | {low:.2f} to {high:.2f} | {found['candidate_ms']:.0f} | {first} |"
    )


if __name__ == "__main__":
    main()
