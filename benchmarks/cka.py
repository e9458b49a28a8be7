"""Cost of CKA: gram against feature space, the choice against the cheaper one, and its share of a training step.

    python benchmarks/cka.py --out cka.json

Forward and backward in one process, interleaved in alternating order; a ratio is the median of paired ratios. Run it on
an idle machine. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from experts import paired, timed  # benchmarks/experts.py
from torch import Tensor, nn

from lorkit.decompose.machine import fingerprint
from lorkit.decompose.methods.losses.cka import loss
from lorkit.decompose.methods.losses.cka.products import cheaper_space
from lorkit.decompose.models.backbones.registry import build_backbone

Step = Callable[[], Any]
# samples and both widths: a small set, ResNets and ViTs at gap, their tokens, near equal cost
SHAPES = (
    (32, 512, 2048), (64, 25088, 512), (1568, 256, 256), (4096, 128, 128),
    (64, 512, 512), (64, 512, 2048), (64, 64, 64), (256, 192, 768), (1024, 512, 2048), (3136, 128, 768),
    (128, 128, 128), (400, 256, 256), (600, 512, 128), (1000, 768, 512), (1024, 512, 512), (8192, 64, 64),
)  # fmt: skip
MEMORY = 2 * 2**30
STAGES = (
    (64, 256, 16),
    (128, 512, 8),
    (256, 1024, 4),
    (512, 2048, 2),
)  # channels of student and teacher, side of the grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    parser.add_argument("--rounds", type=int, default=15, help="pairs per ratio, for times between 5 and 50 ms")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    document = {
        "benchmark": "cka",
        "date": datetime.date.today().isoformat(),
        "machine": fingerprint(),
        "threads": options.threads,
        "spaces": spaces(options.rounds),
        "step": step_share(options.rounds),
    }
    text = json.dumps(document, indent=1)
    if options.out:
        options.out.write_text(text)
    print(text)


def spaces(rounds: int) -> dict[str, Any]:
    """Time every shape in both spaces if it needs at most 2 GiB, for a frozen target and for two trained sides."""
    found: dict[str, Any] = {}
    for shape in SHAPES:
        for estimator in ("biased", "unbiased"):
            for trained in (1, 2):
                found[f"n, p, q = {shape}, {estimator}, trained sides {trained}"] = _choice(
                    shape, estimator, trained, rounds
                )
    regrets = [one["auto_over_cheaper"] for one in found.values()]
    return {"shapes": found, "worst": max(regrets), "median": statistics.median(regrets), "goal": 1.3}


def _choice(shape: tuple[int, int, int], estimator: str, trained: int, rounds: int) -> dict[str, Any]:
    n, p, q = shape
    sides = [torch.randn(n, width, requires_grad=index < trained) for index, width in enumerate((p, q))]
    arms = {space: _pass(sides, estimator, space) for space in ("gram", "feature", "auto")}
    chosen = cheaper_space(n, p, q, (True, trained == 2))
    if _peak(shape, "feature") > MEMORY:
        result = paired(arms["gram"], arms["auto"], _rounds(rounds, timed(arms["gram"])))
        times, regret = {"gram": result["baseline_ms"], "feature": None}, result["ratio"]
    else:
        slower = max(timed(arms["gram"]), timed(arms["feature"]))
        result = paired(arms["gram"], arms["feature"], _rounds(rounds, slower))
        times = {"gram": result["baseline_ms"], "feature": result["candidate_ms"]}
        cheaper = "gram" if result["ratio"] > 1 else "feature"
        regret = paired(arms[cheaper], arms["auto"], _rounds(rounds, times[cheaper] / 1000))["ratio"]
    _note(f"{shape} {estimator} {trained}: {times}, auto is {chosen}, {regret:.2f} of the cheaper")
    return {"ms": times, "auto": chosen, "auto_over_cheaper": regret}


def step_share(rounds: int) -> dict[str, Any]:
    """Compare forward and backward of CKA with a step of ResNet-18 at 64 x 64, batch 64: last stage, and all four."""
    step = _training_step()
    found: dict[str, Any] = {}
    for name, stages in (("last stage", STAGES[-1:]), ("four stages", STAGES)):
        for estimator in ("biased", "unbiased"):
            result = paired(step, _terms(stages, estimator), max(3, rounds // 2))
            share = result["ratio"] / (1 + result["ratio"])
            found[f"{name}, {estimator}"] = {"share": share, "goal": 0.03, **result}
            _note(f"{name}, {estimator}: {share:.4f} of a step")
    return found


def _training_step() -> Step:
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", channels=3, image_size=(64, 64))
    model = nn.Sequential(backbone, nn.Linear(512, 3)).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    image = torch.randn(64, 3, 64, 64).to(memory_format=torch.channels_last)
    label = torch.arange(64) % 3

    def step() -> None:
        nn.functional.cross_entropy(model(image), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _terms(stages: tuple[tuple[int, int, int], ...], estimator: str) -> Step:
    """Return CKA with view gap of maps of a student (with gradient) and a teacher (without)."""
    pairs = []
    for student, teacher, side in stages:
        x, y = (
            torch.randn(64, c, side, side).to(memory_format=torch.channels_last).requires_grad_(wanted)
            for c, wanted in ((student, True), (teacher, False))
        )
        pairs.append((x, y))
    return lambda: [_pass(list(pair), estimator, "auto")() for pair in pairs]


def _pass(sides: list[Tensor], estimator: str, space: str) -> Step:
    wanted = [side for side in sides if side.requires_grad]

    def both_ways() -> None:
        pair = loss.sides(*sides, view="gap", gather=False)
        value = loss.similarity(*pair, estimator=estimator, space=space).value  # type: ignore[arg-type]
        torch.autograd.grad(value, wanted)

    return both_ways


def _peak(shape: tuple[int, int, int], space: str) -> int:
    """Return the approximate bytes of the products and their gradients."""
    n, p, q = shape
    return 4 * 2 * (p * p + q * q + p * q if space == "feature" else 2 * n * n)


def _rounds(rounds: int, seconds: float) -> int:
    """Return more pairs for short times, which noise affects more, and fewer for long ones."""
    return 4 * rounds if seconds < 0.005 else rounds if seconds < 0.05 else max(3, rounds // 4)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
