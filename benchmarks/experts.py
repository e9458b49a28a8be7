"""Cost of experts in training: whole steps against the plain network and the official formula, and by layer.

    python benchmarks/experts.py --threads 1,2 --out experts.json

Forward, backward and AdamW in one process, interleaved in alternating order; a ratio is the median of paired ratios.
Peak memory is that of a separate process. Run it on an idle machine. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts import Routing, add_experts_, expert_layers, extract, pack_
from lorkit.decompose.experts.forecast import estimate_costs, layer_inputs, mean_overhead
from lorkit.decompose.experts.layers import LowRankExperts
from lorkit.decompose.machine import fingerprint
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.training.loop.compiling import loosen_
from lorkit.decompose.training.loop.devices import keep_freed_memory
from lorkit.decompose.training.loop.packed_adamw import PackedAdamW

Step = Callable[[], None]
NETWORKS = ("resnet18", "resnet50", "shufflenet_v2_x1_0", "unet3d")
NARROW = (64, 128)  # `lorkd.select_min_channels`: without experts in the stem, and in the first stage
ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default=f"1,{torch.get_num_threads()}", help="thread counts, comma-separated")
    parser.add_argument(
        "--only", default="steps,python_api,regions,batches,official,latency,layers", help="parts, comma-separated"
    )
    parser.add_argument("--networks", default=",".join(NETWORKS), help="networks of whole steps, comma-separated")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="pairs of steps per ratio")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(_peak_of(json.loads(options.memory)))
        return
    document: dict[str, Any] = {
        "benchmark": "experts",
        "date": datetime.date.today().isoformat(),
        "machine": fingerprint(),
    }
    for part in options.only.split(","):
        began = time.perf_counter()
        document[part] = {}
        for threads in sorted({int(text) for text in options.threads.split(",")}):
            torch.set_num_threads(threads)
            run = partial(steps, networks=options.networks.split(",")) if part == "steps" else PARTS[part]
            document[part][f"threads_{threads}"] = run(options.rounds)
        _note(f"{part}: {time.perf_counter() - began:.0f} s")
        if options.out:
            options.out.write_text(json.dumps(document, indent=1))
    print(json.dumps(document, indent=1))


def steps(rounds: int, networks: Sequence[str] = NETWORKS) -> dict[str, Any]:
    """Time whole training steps, T = 8, batch 64, rank 8."""
    found = {}
    variants = [(norm, narrow) for norm in ("region", "shared") for narrow in (0, *NARROW)]
    for name in networks:
        for norm, narrow in variants:
            if name == "unet3d" and (norm == "region" or narrow):
                continue  # MONAI's U-Net has instance norms, which no policy changes, and no wide layers
            model, routing = experts(name, regions=8, norm=norm, narrow=narrow)
            layers = estimate_costs(model, routing, shape_of(name), batch=64)
            overhead = mean_overhead(layers)
            pairs = rounds if name == "resnet18" else max(5, rounds // 3)
            result = paired(step_of(plain(name), None, name, 64), step_of(model, routing, name, 64), pairs)
            goal = 1.15 if name.startswith("resnet") else 1.1 * (1 + overhead)
            used = sorted({layer.strategy for layer in layers})
            title = f"{name}, norm {norm}" + (f", experts from {narrow} channels" if narrow else "")
            found[title] = {**result, "mac_overhead": overhead, "goal": goal, "strategies": used}
            _note(f"{title}: {result['ratio']:.3f}, goal {goal:.3f}")
    return found


def python_api(rounds: int) -> dict[str, Any]:
    """Time steps that a user of the Python API writes: plain AdamW, one cross-entropy, factors not packed."""
    found = {}
    for name in ("resnet18", "shufflenet_v2_x1_0"):
        for norm in ("region", "shared"):
            model, routing = experts(name, regions=8, norm=norm)
            result = paired(_user_step(plain(name), None, name), _user_step(model, routing, name), max(5, rounds // 2))
            found[f"{name}, norm {norm}"] = result
            _note(f"{name}, norm {norm}, Python API: {result['ratio']:.3f}")
    return found


def regions(rounds: int) -> dict[str, Any]:
    """Time ResNet-18 with T from 2 to 64 at batch 64, each against T = 2."""
    found = {}
    few = step_of(*experts("resnet18", regions=2), "resnet18", 64)
    for count in (4, 8, 16, 32, 64):
        result = paired(few, step_of(*experts("resnet18", regions=count), "resnet18", 64), max(5, rounds // 2))
        found[str(count)] = {**result, "goal": 1.2}
        _note(f"T={count}: {result['ratio']:.3f} of T=2")
    return found


def batches(rounds: int) -> dict[str, Any]:
    """Measure images/s of ResNet-18 with T = 8 at batches of 16 to 512, each against the one before."""
    found, before = {}, None
    for batch in (16, 32, 64, 128, 256, 512):
        step = step_of(*experts("resnet18", regions=8), "resnet18", batch)
        if before is None:
            milliseconds = 1000 * statistics.median(timed(step) for _ in range(max(5, rounds // 2)))
            found[str(batch)] = {"images_per_second": batch / milliseconds * 1000}
        else:
            result = paired(before[1], step, max(5, rounds // 3))
            gain = batch / before[0] / result["ratio"]
            rate = batch / result["candidate_ms"] * 1000
            found[str(batch)] = {"images_per_second": rate, "gain_over_half_the_batch": gain, "goal": "gain >= 1"}
        before = (batch, step)
        _note(f"batch {batch}: {found[str(batch)]}")
    return found


def official(rounds: int) -> dict[str, Any]:
    """Compare the official layer's formula in every layer of ResNet-18 with ours, at batches that fit into memory."""
    found: dict[str, Any] = {}
    for batch in (8, 16, 32):
        naive, routing = experts("resnet18", regions=8, norm="shared")
        for layer in expert_layers(naive).values():
            layer.forward = Naive(layer)  # type: ignore[method-assign, assignment]
        ours = step_of(*experts("resnet18", regions=8, norm="shared"), "resnet18", batch)
        result = paired(ours, step_of(naive, routing, "resnet18", batch), max(3, rounds // 5))
        peaks = {arm: _peak(arm, batch) for arm in ("plain", "ours", "naive")}
        extra = {arm: peaks[arm] - peaks["plain"] for arm in ("ours", "naive")}
        found[f"batch_{batch}"] = {
            "times_faster": result["ratio"],
            "goal_times_faster": 10,
            "peak_mib": peaks,
            "extra_memory_ratio": extra["ours"] / extra["naive"],
            "goal_extra_memory_ratio": 1 / 20,
            **result,
        }
        _note(f"official, batch {batch}: {result['ratio']:.1f} x, extra memory {extra}")
    return found


def latency(rounds: int) -> dict[str, Any]:
    """Compare an extracted expert with the plain student, the same network with other weights."""
    model, _ = experts("resnet18", regions=8)
    arms = [plain("resnet18").eval(), extract(model, "r3").eval()]
    image = torch.rand(1, *shape_of("resnet18")).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        result = paired(*(lambda network=network: network(image) for network in arms), rounds * 40)
    return {**result, "goal": [0.99, 1.01]}


def layers(rounds: int) -> dict[str, Any]:
    """Time every strategy on the layers of ResNet-18 and -50 at T = 8 and 64, and compare the choice with the best."""
    found = {}
    for name in ("resnet18", "resnet50"):
        for count in (8, 64):
            model, routing = experts(name, regions=count)
            inputs = {layer.name: layer for layer in estimate_costs(model, routing, shape_of(name), batch=64)}
            shapes = layer_inputs(model, routing, shape_of(name))
            seen = set()
            for title, layer in expert_layers(model).items():
                assert isinstance(layer, LowRankExperts)
                spatial = shapes[title][1:]
                if (layer.selector.geometry, spatial) in seen:
                    continue
                seen.add((layer.selector.geometry, spatial))
                found[f"{name}.{title} T={count}"] = _regret(layer, routing, spatial, inputs[title].strategy, rounds)
    regrets = [one["regret"] for one in found.values()]
    return {"layers": found, "median_regret": statistics.median(regrets), "worst_regret": max(regrets)}


PARTS = {
    "steps": steps, "python_api": python_api, "regions": regions, "batches": batches, "official": official,
    "latency": latency, "layers": layers,
}  # fmt: skip


def shape_of(name: str) -> tuple[int, ...]:
    return (1, 32, 32, 32) if name == "unet3d" else (3, 64, 64)


def plain(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "unet3d":
        from monai.networks.nets import UNet

        network: nn.Module = UNet(3, 1, 3, channels=(16, 32, 64, 128), strides=(2, 2, 2), num_res_units=2)
    else:
        network = build_backbone(name, channels=3, image_size=(64, 64))
    return network.to(memory_format=_format(name)).train()  # type: ignore[call-overload]


def experts(name: str, *, regions: int, norm: str = "region", narrow: int = 0) -> tuple[nn.Module, Routing]:
    model = plain(name)
    names = [f"r{index}" for index in range(regions)]
    config = ExpertConfig(rank=8, norm=norm)  # type: ignore[arg-type]
    routing = add_experts_(model, names, config, select=lambda module, _: _inputs(module) >= narrow)
    return model.to(memory_format=_format(name)), routing  # type: ignore[call-overload]


def _inputs(module: nn.Module) -> int:
    return int(getattr(module, "in_channels", getattr(module, "in_features", 0)))


def step_of(model: nn.Module, routing: Routing | None, name: str, batch: int, *, loose: bool = False) -> Step:
    """Return a training step on one sorted, balanced batch; `loose` as in a compiled training."""
    keep_freed_memory()  # as training does, which also packs
    pack_(model)
    optimizer = PackedAdamW([{"params": list(model.parameters())}], lr=1e-4)
    image = torch.randn(batch, *shape_of(name), generator=torch.Generator().manual_seed(1)).to(
        memory_format=_format(name)
    )
    ids = torch.arange(batch) * len(routing.regions) // batch if routing else None

    def step() -> None:
        if routing is None:
            model(image).square().mean().backward()
        else:
            with routing.use(ids, sort=True) as routed:
                if loose:
                    loosen_(routed)
                model(image).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _user_step(model: nn.Module, routing: Routing | None, name: str, batch: int = 64) -> Step:
    """Return a step on images in random order of regions, with a linear head of ten classes."""
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, *shape_of(name), generator=generator).to(memory_format=_format(name))
    label = torch.randint(10, (batch,), generator=generator)
    ids = torch.randperm(batch, generator=generator) * len(routing.regions) // batch if routing else None
    with torch.no_grad(), routing.use("r0") if routing else nullcontext():
        head = nn.Linear(model(image[:2]).shape[1], 10)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=1e-4)

    def step() -> None:
        with routing.use(ids) if routing else nullcontext():
            features = model(image)
            nn.functional.cross_entropy(head(features.reshape(*features.shape[:2], -1).mean(2)), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def paired(baseline: Step, candidate: Step, rounds: int) -> dict[str, Any]:
    """Time two steps in turn; the ratio is candidate / baseline."""
    for _ in range(2):
        baseline()
        candidate()
    times: list[tuple[float, float]] = []
    for index in range(rounds):
        if index % 2:
            second, first = timed(candidate), timed(baseline)
        else:
            first, second = timed(baseline), timed(candidate)
        times.append((first, second))
    ratios = [second / first for first, second in times]
    low, high = statistics.quantiles(ratios, n=4)[::2]
    return {
        "ratio": statistics.median(ratios),
        "quartiles": [low, high],
        "baseline_ms": 1000 * statistics.median(first for first, _ in times),
        "candidate_ms": 1000 * statistics.median(second for _, second in times),
        "pairs": rounds,
    }


def timed(step: Callable[[], Any]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


class Naive:
    """The official layer: (T, O, I, k, k) updates times (N, T) one-hot rows, summed, then a convolution per sample."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:  # noqa: D102
        layer, base = self.layer, self.layer.base
        plan = layer.routing.current(layer.name)
        owner = torch.repeat_interleave(torch.tensor(plan.regions), torch.tensor(plan.counts))
        one_hot = nn.functional.one_hot(owner, len(layer.routing.regions)).to(x.dtype)
        updates = torch.stack([layer.delta_weight(region) for region in layer.routing.regions])
        mixed = (updates.unsqueeze(0) * one_hot.view(*one_hot.shape, 1, 1, 1, 1)).sum(1)
        weight = (base.weight + mixed).flatten(0, 1)
        y = nn.functional.conv2d(x.reshape(1, -1, *x.shape[2:]), weight, None, base.stride, base.padding, groups=len(x))
        return y.view(len(x), -1, *y.shape[2:])


def _peak(arm: str, batch: int) -> float:
    """Return the peak resident memory in MiB of two steps in a separate process."""
    command = [sys.executable, __file__, "--memory", json.dumps({"arm": arm, "batch": batch})]
    return float(subprocess.check_output(command))


def _peak_of(what: dict[str, Any]) -> float:
    torch.set_num_threads(1)
    if what["arm"] == "plain":
        step = step_of(plain("resnet18"), None, "resnet18", what["batch"])
    else:
        model, routing = experts("resnet18", regions=8, norm="shared")
        for layer in expert_layers(model).values() if what["arm"] == "naive" else ():
            layer.forward = Naive(layer)  # type: ignore[method-assign, assignment]
        step = step_of(model, routing, "resnet18", what["batch"])
    for _ in range(2):
        step()
    # not ru_maxrss, which a child inherits from its parent
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def _regret(
    layer: LowRankExperts, routing: Routing, shape: tuple[int, ...], chosen: str, rounds: int
) -> dict[str, Any]:
    x = torch.randn(64, *shape).to(memory_format=torch.channels_last).requires_grad_(shape[0] > 3)
    ids = torch.arange(64) * len(routing.regions) // 64
    candidates, times = list(layer.selector.candidates), {}

    def run() -> None:
        with routing.use(ids, sort=True):
            layer(x).sum().backward()

    def base() -> None:
        layer.base(x).sum().backward()

    for strategy in candidates:
        layer.selector.candidates = [strategy]
        times[strategy.name] = paired(base, run, max(5, rounds // 3))["ratio"]
    layer.selector.candidates = candidates
    best = min(times, key=lambda name: times[name])
    return {"ratios": times, "chosen": chosen, "best": best, "regret": times[chosen] / times[best]}


def _format(name: str) -> torch.memory_format:
    return torch.channels_last_3d if name == "unet3d" else torch.channels_last


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
