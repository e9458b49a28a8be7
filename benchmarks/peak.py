"""Largest number of products per second of this processor by number format, and what they allow a ResNet-18.

    python benchmarks/peak.py

A loop in C of independent multiply-and-add instructions on 512 bits, without memory: `vfmadd` in fp32, `vdpbf16ps` in
bf16, `vpdpbusd` in int8 (VNNI). They are timed in turns by the clock, on one thread; the best of all turns counts. The
network's products divided by that are the least time of one image, which no engine can be below unless it needs fewer
products (Winograd's convolutions). Needs gcc, and AVX-512 with VNNI and bf16. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from pathlib import Path

from torch import nn

from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.cost import count_macs

SHAPE, CLASSES, COUNT, TURNS = (3, 224, 224), 4, 5_000_000, 20
SUMS = 16
"""Sums of 512 bits in registers, so that no instruction waits for the one before."""
PRODUCTS = {"fp32": ("vfmadd231ps", 16), "bf16": ("vdpbf16ps", 32), "int8": ("vpdpbusd", 64)}
"""Instruction of a format, and the products of one."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    network = nn.Sequential(
        build_backbone("resnet18", channels=SHAPE[0], image_size=SHAPE[1:]), nn.Linear(512, CLASSES)
    )
    macs = count_macs(network.eval(), SHAPE)
    rates = _rates()
    document = {
        "machine": fingerprint(),
        "versions": tool_versions(),
        "products": macs,
        "products_per_second": rates,
        "times_fp32": {name: rate / rates["fp32"] for name, rate in rates.items()},
        "least_ms": {name: 1e3 * macs / rate for name, rate in rates.items()},
    }
    print(json.dumps(document, indent=1))


def _rates() -> dict[str, float]:
    """Return products per second by format."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "peak.c", Path(folder) / "peak.so"
        source.write_text("\n".join(_loop(name, instruction) for name, (instruction, _) in PRODUCTS.items()))
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-mavx512f", "-o", str(built), str(source)], check=True)
        loaded = ctypes.CDLL(str(built))
    seconds: dict[str, list[float]] = {name: [] for name in PRODUCTS}
    for _ in range(TURNS):
        for name, times in seconds.items():
            begin = time.perf_counter()
            getattr(loaded, name)(ctypes.c_long(COUNT))
            times.append(time.perf_counter() - begin)
    return {name: COUNT * SUMS * PRODUCTS[name][1] / min(times) for name, times in seconds.items()}


def _loop(name: str, instruction: str) -> str:
    """Return C of a function that runs an instruction on every sum, a number of times."""
    step = "\\n".join(f"{instruction} %%zmm30, %%zmm31, %%zmm{index}" for index in range(SUMS))
    clear = "\\n".join(f"vpxord %%zmm{index}, %%zmm{index}, %%zmm{index}" for index in (*range(SUMS), 30, 31))
    used = ", ".join(f'"zmm{index}"' for index in (*range(SUMS), 30, 31))
    return f"""
void {name}(long count) {{
    __asm__ volatile("{clear}" ::: {used});
    for (long turn = 0; turn < count; turn++) __asm__ volatile("{step}" ::: {used});
}}"""


if __name__ == "__main__":
    main()
