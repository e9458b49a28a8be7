"""What centred kernel alignment costs: both spaces and the automatic choice, and its share of a training step.

    python benchmarks/cka.py [--threads 1] [--rounds 9] [--out FILE]

Forward and backward, interleaved in one process, medians; `ratio` is the automatic choice against the cheaper space
(goal: at most 1.3), `share` that of pooled features in a ResNet-18 step at 64x64 and batch 64 (goal: at most 0.03).
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lorkit.decompose.cka import cka
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.models.backbones import build_backbone

# (n, p, q): pooled features, flattened maps, positions as samples
SHAPES = (
    (8, 64, 64),
    (32, 512, 512),
    (32, 512, 2048),
    (64, 512, 512),
    (256, 512, 512),
    (512, 512, 512),
    (1024, 512, 512),
    (64, 6272, 512),
    (1568, 256, 256),
    (4096, 128, 128),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head = {"benchmark": "cka", "date": datetime.date.today().isoformat(), "machine": fingerprint()}
    shapes = [of_shape(*shape, estimator, options.rounds) for shape in SHAPES for estimator in ("biased", "unbiased")]
    document = {**head, "shapes": shapes, "worst": max(one["ratio"] for one in shapes), **step(options.rounds)}
    if options.out:
        options.out.write_text(json.dumps(document, indent=1))
    print(json.dumps(document, indent=1))


def of_shape(n: int, p: int, q: int, estimator: Any, rounds: int) -> dict[str, Any]:
    """Time gram, feature and auto on features of one shape."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, width, generator=generator).requires_grad_() for width in (p, q))
    arms: dict[str, Callable[[], Any]] = {
        space: lambda space=space: cka(x, y, estimator=estimator, space=space).backward()  # type: ignore[misc]
        for space in ("gram", "feature", "auto")
    }
    times = interleaved(arms, rounds)
    cheaper = [min(one["gram"], one["feature"]) for one in times]
    ratio = statistics.median(one["auto"] / best for one, best in zip(times, cheaper, strict=True))
    milliseconds = {name: 1000 * statistics.median(one[name] for one in times) for name in arms}
    return {"n": n, "p": p, "q": q, "estimator": estimator, "ms": milliseconds, "ratio": ratio}


def step(rounds: int) -> dict[str, Any]:
    """Time a training step of ResNet-18 and the alignment of its pooled features with a teacher's."""
    torch.manual_seed(0)
    network = build_backbone("resnet18", channels=3, image_size=(64, 64)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    image = torch.randn(64, 3, 64, 64).to(memory_format=torch.channels_last)
    x, y = (torch.randn(64, 512).requires_grad_() for _ in range(2))

    def plain() -> None:
        network(image).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    times = interleaved({"step": plain, "cka": lambda: cka(x, y).backward()}, rounds)
    share = statistics.median(one["cka"] / one["step"] for one in times)
    return {"share": share, "step_ms": 1000 * statistics.median(one["step"] for one in times)}


def interleaved(arms: dict[str, Callable[[], Any]], rounds: int) -> list[dict[str, float]]:
    """Run all arms in turn, in changing order, and return the seconds of each round."""
    for arm in arms.values():
        arm()
        arm()
    times = []
    for index in range(rounds):
        order = list(arms)[:: 1 if index % 2 else -1]
        found = {}
        for name in order:
            began = time.perf_counter()
            arms[name]()
            found[name] = time.perf_counter() - began
        times.append(found)
    return times


if __name__ == "__main__":
    main()
