"""Run every command and every example script in one process whose packets reach loopback only; print what it tried."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

NEW_NETWORK, NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER of unshare(2)
SET_FLAGS, UP = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP of netdevice(7)

SETTINGS = """
image: {size: 16, channels: 1}
split: {val: 0.25, test: 0.25}
regions: {chest: {data: chest.npz}, knee: {data: knee.npz}}
foundation: {backbone: tiny}
student: {backbone: tiny}
train: {epochs: 1, batch_size: 16, min_steps: null}
"""
ONE, SHORT = ("--region", "chest"), ("--max-seconds", "0.2")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("data",),
    ("init", "--from-data", "chest.npz", "--out", "drafted.yaml"),
    ("pretrain",),
    ("train",),
    ("evaluate",),
    ("compare", "--methods", "stl"),
    ("extract", *ONE),
    ("export", *ONE),
    ("verify", *ONE, "--target", "onnx"),
    ("bench", *ONE, "--target", "onnx", *SHORT),
    ("gate", *ONE, *SHORT),
    ("report",),  # before the other exports: it would measure each of them
    ("predict", *ONE, "--target", "onnx", "picture.png"),
    ("export", *ONE, "--target", "openvino"),
    ("export", *ONE, "--target", "monai"),
    ("bench", *ONE, "--target", "openvino", *SHORT),
    ("predict", *ONE, "--target", "openvino", "picture.png"),
    ("pack",),
    ("clean",),
    ("inspect", "picture.png"),
    ("doctor",),
    ("schema", "export"),
    ("help",),
    ("profiles", "list"),
    ("profiles", "show", "a100"),
    ("profiles", "detect"),
    ("extract", "--region-id"),
    ("export", "--target", "onnx-adapters", "--region", "all"),
)
SCRIPTS = {  # by target: what its directory holds that is run with the picture
    "onnx": ("example.py",),
    "openvino": ("openvino_example.py",),
    "monai": ("bundle_example.py", "example.py"),
    "onnx-adapters": ("adapters_example.py",),
}


def isolate() -> bool:
    """Move this process into a network of its own that has loopback only; False where the system forbids it."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(NEW_NETWORK) and library.unshare(NEW_NETWORK | NEW_USER):
        return False
    import fcntl
    import struct

    with socket.socket() as probe:
        fcntl.ioctl(probe, SET_FLAGS, struct.pack("16sh", b"lo", UP))
    return True


def unrouted_packets() -> int:
    """Return how many packets to other hosts this network has refused: a look-up of a name is one, too."""
    found = 0
    for line in Path("/proc/self/net/snmp6").read_text().splitlines():
        found += int(line.split()[1]) if line.split()[0] == "Ip6OutNoRoutes" else 0
    names, values = (line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines()[:2])
    return found + int(values[names.index("OutNoRoutes")])


def write_inputs() -> None:
    """Write the data of two regions, a picture and a configuration."""
    import numpy as np
    from PIL import Image
    from small_runs import REGIONS, write_data

    for seed, (name, classes) in enumerate(REGIONS.items()):
        write_data(Path(f"{name}.npz"), classes, seed=seed)
    with np.load("chest.npz") as stored:
        Image.fromarray(stored["images"][0]).save("picture.png")
    Path("decompose.yaml").write_text(SETTINGS, encoding="utf-8")


def run_scripts() -> dict[str, int]:
    """Run the scripts beside the exports of the chest, or of all regions, and return their exit codes."""
    codes = {}
    for path in sorted(Path("runs").glob("*/exports/*/*/export.json")):
        target = json.loads(path.read_text(encoding="utf-8"))["target"]
        for name in SCRIPTS.get(target, ()):
            words = [sys.executable, "-W", "ignore", str(path.parent / name), "picture.png"]
            words += ["--region", "chest"] if target == "onnx-adapters" else []
            done = subprocess.run(words, stdout=subprocess.DEVNULL, check=False, timeout=300)
            codes[f"{target}/{name}"] = done.returncode
    return codes


def main() -> None:
    """Run everything, and print one JSON document."""
    isolated = isolate()
    import pytest
    import torch

    torch.set_num_threads(1)
    from known_graphs import translate_once
    from small_runs import register_tiny

    from lorkit.cli.main import run_command_line
    from lorkit.export.targets import TARGETS

    translate_once(pytest.MonkeyPatch())  # the exports to three targets are of the same networks
    register_tiny(lambda known, name, value: known.update({name: value}))  # type: ignore[arg-type]
    write_inputs()
    codes = {}
    for words in COMMANDS:
        if "--target" not in words or TARGETS[words[words.index("--target") + 1]].available().ok:
            codes[" ".join(words)] = run_command_line(words)
    scripts = run_scripts()
    told = {"codes": codes, "scripts": scripts, "packets": unrouted_packets() if isolated else None}
    Path(os.environ["TOLD"]).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
