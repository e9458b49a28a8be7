"""Time and memory of volumes that a network takes window by window, beside MONAI's `sliding_window_inference`.

    LORKIT_DATA=/path/to/data python benchmarks/volumes.py stock
    LORKIT_DATA=/path/to/data python benchmarks/volumes.py memory
    LORKIT_DATA=/path/to/data python benchmarks/volumes.py fast

`stock` takes the head `second/t1_heads/swm_t1.nii.gz` at 0.8 mm (320 x 320 x 320) and an untrained network with 12
outputs, windows of 96 voxels, overlap 0.25 and Gaussian weights, on one thread. Both sides run in turns in one process
for their CPU time on the middle of the head, and each in a process of its own on the whole head for the resident memory
above that of the process with everything imported and the network loaded. `memory` compares the predicted with the
measured peak of `decompose predict` for several networks, sizes and runtimes, each in a process of its own. `fast`
compares the CPU time of `predict` with that of `predict --fast` on the middle of the head at 0.8 mm. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from lorkit.decompose.artifacts import save_tensors, write_json, write_manifest
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.preprocessing.recipe import apply_recipe, resize_image
from lorkit.decompose.data.preprocessing.windows import segment_windows
from lorkit.decompose.machine import PeakMemory, resident_bytes
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import ExportSelection
from lorkit.decompose.runs.expert import load_expert, plain_network
from lorkit.export import export, predict
from lorkit.export.prediction.network import open_network

HEAD = "second/t1_heads/swm_t1.nii.gz"
SPACING, WINDOW, STRUCTURES = 0.8, 96, 11
MIB = 2**20
NETWORKS = (("basicunet", 64, 5), ("segresnet", 64, 3), ("unet", 64, 11))
HEADS, COARSE = (160, 256), 3.0
TARGETS = ("torch", "onnx", "openvino")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("what", choices=("stock", "memory", "fast", "child"))
    arguments.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    arguments.add_argument("--backbone", help="of `stock`; of `memory`, all by default")
    arguments.add_argument("--runtime", choices=TARGETS, help="of `memory`; all by default")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--side", type=int, default=168, help="voxels of the middle of the head that is timed")

    options = arguments.parse_args()
    torch.set_num_threads(1)
    if options.what == "child":
        print(json.dumps(_child(options.rest[0], *map(Path, options.rest[1:]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = {"stock": stock, "memory": memory, "fast": fast}[options.what](Path(folder), options)
    print("\n".join(lines))


def stock(folder: Path, options: argparse.Namespace) -> list[str]:
    """Compare with MONAI: memory on the whole head, time on its middle."""
    head = write_head(folder / "head.nii.gz", 320)
    expert = write_expert(folder / "expert", options.backbone or "basicunet", WINDOW, STRUCTURES, SPACING)
    seconds, differing = timed(expert, head, options)
    peaks = {role: _measured(role, expert, head) for role in ("stock", "predict")}
    names = {"stock": "MONAI, logits of the whole volume", "predict": "`predict`, streamed, from file to file"}
    lines = ["| | MiB above the interpreter | peak of the process, MiB |", "|---|---:|---:|"]
    lines += [f"| {names[role]} | {one['above']:.0f} | {one['peak']:.0f} |" for role, one in peaks.items()]
    costs = peaks["predict"]["costs"]
    lines += [
        "",
        f"predicted {costs['predicted_peak_mib']:.0f} MiB, {costs['windows']} windows, {costs['batch']} at once",
    ]
    lines += ["", "| stage | seconds |", "|---|---:|"]
    lines += [f"| {name} | {value:.2f} |" for name, value in costs["stage_seconds"].items()]
    ratios = np.divide(seconds["windows"], seconds["stock"])
    lines += ["", f"time of lorkit / MONAI {np.median(ratios):.3f} ({', '.join(f'{one:.3f}' for one in ratios)})"]
    return [*lines, f"voxels that differ {differing:.2e}"]


def timed(expert: Path, head: Path, options: argparse.Namespace) -> tuple[dict[str, list[float]], float]:
    """Return the seconds of both sides in turns, and the share of voxels that differ."""
    network, volume = load_expert(expert).network, prepared(expert, head)
    first = (volume.shape[1] - options.side) // 2
    middle = slice(first, first + options.side)
    volume = np.ascontiguousarray(volume[:, middle, middle, middle])
    seconds: dict[str, list[float]] = {role: [] for role in ROLES}
    masks: dict[str, Any] = {}
    for turn in range(options.rounds + 1):
        for role in list(ROLES)[:: 1 if turn % 2 else -1]:
            begin = time.process_time()
            masks[role] = ROLES[role](network, volume)
            if turn:  # the first round warms up
                seconds[role].append(time.process_time() - begin)
    return seconds, float((masks["stock"] != masks["windows"]).mean())


def memory(folder: Path, options: argparse.Namespace) -> list[str]:
    """Compare predicted and measured peaks of all networks and runtimes, or of those that are named."""
    lines = [
        "| network | outputs | window | head | runtime | windows at once | predicted, MiB | measured, MiB | error |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    worst = 0.0
    for backbone, window, structures in NETWORKS:
        if options.backbone not in (None, backbone):
            continue
        expert = write_expert(folder / f"{backbone}-{window}", backbone, window, structures, COARSE)
        paths = {
            name: expert if name == "torch" else export(expert, target=name, profile="cpu-generic").exports[0].path
            for name in TARGETS
            if options.runtime in (None, name)
        }
        for side in HEADS:
            head = write_head(folder / f"head-{side}.nii.gz", side)
            for target, path in paths.items():
                costs = _measured("predict", path, head)["costs"]
                error = costs["predicted_peak_mib"] / costs["peak_mib"] - 1
                worst = max(worst, abs(error))
                lines.append(
                    f"| {backbone} | {structures + 1} | {window} | {side} | {target} | {costs['batch']} "
                    f"| {costs['predicted_peak_mib']:.0f} | {costs['peak_mib']:.0f} | {error:+.1%} |"
                )
                print(lines[-1], file=sys.stderr, flush=True)
    return [*lines, "", f"largest error {worst:.1%}"]


def fast(folder: Path, options: argparse.Namespace) -> list[str]:
    """Compare `predict` with `predict --fast` from file to file, in turns."""
    whole = nib.load(write_head(folder / "whole.nii.gz", 320))
    first = (whole.shape[0] - options.side) // 2
    middle = slice(first, first + options.side)
    nib.save(whole.slicer[middle, middle, middle], folder / "middle.nii.gz")
    expert = write_expert(folder / "expert", options.backbone or "basicunet", 64, STRUCTURES, SPACING)
    path = export(expert, target=options.runtime or "onnx", profile="cpu-generic").exports[0].path
    seconds: dict[bool, list[float]] = {False: [], True: []}
    windows: dict[bool, int] = {}
    for turn in range(options.rounds):
        for quick in (False, True)[:: 1 if turn % 2 else -1]:
            begin = time.process_time()
            document = predict(path, [folder / "middle.nii.gz"], out=folder / f"{turn}{quick}", threads=1, fast=quick)
            seconds[quick].append(time.process_time() - begin)
            windows[quick] = document.to_json()["predictions"][0]["case_costs"]["windows"]
    lines = ["| | windows | CPU seconds, from file to file |", "|---|---:|---:|"]
    for quick, name in ((False, "`predict`"), (True, "`predict --fast`")):
        lines.append(f"| {name} | {windows[quick]} | {', '.join(f'{one:.1f}' for one in seconds[quick])} |")
    ratios = np.divide(seconds[False], seconds[True])
    return [*lines, "", f"{np.median(ratios):.2f} times as fast ({', '.join(f'{one:.2f}' for one in ratios)})"]


def write_head(path: Path, side: int) -> Path:
    """Write the head with another number of voxels per side, of the same extent."""
    if not path.is_file():
        image = nib.load(Path(os.environ["LORKIT_DATA"]) / HEAD)
        values = resize_image(np.asarray(image.dataobj, dtype=np.float32), (side,) * 3)
        scale = np.diag([*(256 / side,) * 3, 1.0])
        nib.save(nib.Nifti1Image(values.round().astype(np.uint8), image.affine @ scale), path)
    return path


def write_expert(directory: Path, backbone: str, window: int, structures: int, spacing: float) -> Path:
    """Write an expert that nobody trained; times and memory do not depend on weights."""
    region = Region(name="head", task="segmentation", classes=tuple(f"s{index}" for index in range(structures)))
    torch.manual_seed(0)
    network = plain_network(backbone, channels=1, size=(window,) * 3, region=region)
    steps = [
        {"op": "intensity", "rule": "percentile", "low": 0.5, "high": 99.5},
        {"op": "resample", "spacing": [spacing] * 3, "filter": "trilinear", "antialias": True},
        {"op": "window", "size": [window] * 3, "overlap": 0.25, "blend": "gaussian", "sigma": 0.125},
        {"op": "channels", "count": 1},
        {"op": "normalise", "mean": [0.5], "std": [0.25]},
    ]
    validation = dict.fromkeys(("dice", "nsd", "hd95", "dice_network_grid"))
    info = {
        "schema_version": 1, "kind": "expert", "region": "head", "task": "segmentation",
        "classes": list(region.classes), "modality": None, "backbone": backbone,
        "image": {"size": [window] * 3, "channels": 1}, "recipe": {"version": 4, "axes": "RAS", "steps": steps},
        "normalise": {"mean": [0.5], "std": [0.25]}, "in_region": None, "synthetic": False, "parameters": 1, "macs": 1,
        "network_output": {"name": "logits", "channels": 1}, "gray": True, "recalibrated": False, "cases": {},
        "validation": {"n": 0, "groups": 0, **validation, "ci": {}, "per_structure": []},
        "made_from": {"run": "none", "run_manifest": 64 * "0", "method": "stl", "foundation_backbone": "none",
                      "lorkit": "0"},
        "equality": {"n": 1, "max_abs_difference": 0.0, "tolerance": 1.0, "label_flips": 0, "inputs": "real",
                     "split": "val"},
    }  # fmt: skip
    directory.mkdir(parents=True)
    save_tensors(directory / "model.safetensors", network.state_dict(), {"format": "pt"})
    write_json(directory / "expert.json", info)
    write_manifest(directory, "expert", synthetic=False, inputs="none", extra={"region": "head", "task": region.task})
    return directory


def prepared(expert: Path, head: Path) -> Float32Array:
    """Return the head as the network's windows see it."""
    image = nib.as_closest_canonical(nib.load(head))
    return apply_recipe(load_expert(expert).recipe, np.asarray(image.dataobj), image.header.get_zooms()[:3])


@torch.inference_mode()
def by_stock(network: torch.nn.Module, volume: Float32Array) -> Any:
    """Segment with MONAI, whose logits are those of the whole volume."""
    from monai.inferers.utils import sliding_window_inference

    logits = sliding_window_inference(torch.from_numpy(volume)[None], (WINDOW,) * 3, 1, network, 0.25, "gaussian")
    return logits[0].argmax(0).to(torch.uint8).numpy()


@torch.inference_mode()
def by_windows(network: torch.nn.Module, volume: Float32Array) -> Any:
    """Segment with lorkit."""
    from lorkit.decompose.documents.recipe import Window

    window = Window(op="window", size=[WINDOW] * 3, overlap=0.25, blend="gaussian", sigma=0.125)
    return segment_windows(lambda batch: network(torch.from_numpy(batch)).numpy(), volume, window, volume.shape[1:])


ROLES: dict[str, Callable[[torch.nn.Module, Float32Array], Any]] = {"stock": by_stock, "windows": by_windows}


def _measured(role: str, expert: Path, head: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "child", role, str(expert), str(head)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _child(role: str, expert: Path, head: Path) -> dict[str, Any]:
    import monai.inferers.utils  # noqa: F401  in both roles, so that it counts in neither

    opened = open_network(expert, None, ExportSelection(), 1)  # in both roles, with its runtime
    network: Any = None if role == "predict" else load_expert(expert).network
    del opened
    costs, begin, before = None, time.perf_counter(), resident_bytes()
    with PeakMemory() as memory, tempfile.TemporaryDirectory() as out:
        if role == "predict":
            (row,) = predict(expert, [head], out=Path(out), threads=1).to_json()["predictions"]
            costs = row["case_costs"]
        else:
            ROLES[role](network, prepared(expert, head))
    peak = max(memory.peak, 0 if costs is None else round(costs["peak_mib"] * MIB))
    return {"above": (peak - before) / MIB, "peak": peak / MIB, "seconds": time.perf_counter() - begin, "costs": costs}


if __name__ == "__main__":
    main()
