"""How the threads of a runtime wait: a process alone, and two at once on the same cores.

    python benchmarks/spinning.py EXPORT [--threads 2] [--seconds 2] [--rounds 9] [--batch 8]

EXPORT has `model.onnx`, and `model.xml` for OpenVINO. Every process runs one network in a loop with a number of
threads. ONNX Runtime's threads spin or sleep between two layers (`session.intra_op.allow_spinning`); OpenVINO's are
bound to cores or not (`ENABLE_CPU_PINNING`). Both settings take turns. A ratio is the median over rounds of a setting
against the runtime's own, with an interval of 95 % from its order statistics. Prints Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.export.targets.openvino import import_openvino  # lorkit turns the telemetry of both off

SETTINGS = {"onnx": ("1", "0"), "openvino": ("1", "0")}
"""Of each runtime: its own, then the other."""
NAMES = {
    ("onnx", "1"): "ONNX Runtime, spinning",
    ("onnx", "0"): "ONNX Runtime, sleeping",
    ("openvino", "1"): "OpenVINO, bound to cores",
    ("openvino", "0"): "OpenVINO, not bound",
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("export", type=Path)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.worker:
        work(options)
        return
    print("| runtime and setting | processes | images/s of each | CPU s per 1000 images | images/s, ratio |")
    print("|---|---:|---:|---:|---|")
    for runtime in SETTINGS:
        if (options.export / ("model.onnx" if runtime == "onnx" else "model.xml")).is_file():
            measure(options, runtime)


def measure(options: argparse.Namespace, runtime: str) -> None:
    """Print the rows of one runtime."""
    workers = {setting: [begin(options, runtime, setting) for _ in range(2)] for setting in SETTINGS[runtime]}
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for index in range(options.rounds):
        for setting in SETTINGS[runtime][:: 1 if index % 2 else -1]:
            for count in (1, 2):
                found.setdefault((setting, count), []).append(run(workers[setting][:count]))
    for one in (one for both in workers.values() for one in both):
        assert one.stdin is not None
        one.stdin.close()
        one.wait(timeout=60)
    own = SETTINGS[runtime][0]
    for (setting, count), pairs in sorted(found.items(), key=lambda item: (item[0][1], -int(item[0][0]))):
        rate, cost = (float(np.median([pair[side] for pair in pairs])) for side in range(2))
        ratios = sorted(pair[0] / other[0] for pair, other in zip(pairs, found[own, count], strict=True))
        low, high = interval(len(ratios))
        told = "" if setting == own else f"{np.median(ratios):.2f} [{ratios[low]:.2f}, {ratios[high]:.2f}]"
        print(f"| {NAMES[runtime, setting]} | {count} | {rate:.0f} | {1000 * cost:.2f} | {told} |", flush=True)


def interval(rounds: int) -> tuple[int, int]:
    """Return the places of the ends of the interval of a median among sorted values; all of them where too few."""
    from scipy.stats import binom

    low = int(binom.ppf(0.025, rounds, 0.5))
    low = low - 1 if low and binom.cdf(low - 1, rounds, 0.5) <= 0.025 else 0
    return low, rounds - 1 - low


def begin(options: argparse.Namespace, runtime: str, setting: str) -> subprocess.Popen[str]:
    """Start a process that runs the network for some seconds for each line that it gets."""
    words = [sys.executable, __file__, str(options.export), "--worker", runtime, setting]
    words += ["--threads", str(options.threads), "--seconds", str(options.seconds), "--batch", str(options.batch)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def run(workers: list[subprocess.Popen[str]]) -> tuple[float, float]:
    """Let workers run at once; return their mean rate in images/s and their mean CPU seconds per image."""
    for one in workers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [one.stdout.readline().split() for one in workers if one.stdout is not None]
    rates, costs = zip(*((float(rate), float(cost)) for rate, cost in told), strict=True)
    return float(np.mean(rates)), float(np.mean(costs))


def work(options: argparse.Namespace) -> None:
    """Run the network for some seconds for each line of stdin, and print the rate and the CPU seconds per image."""
    infer = network(options, *options.worker)
    for _ in range(3):
        infer()
    print("ready", flush=True)
    for _ in sys.stdin:
        images, before, start = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() < start + options.seconds:
            infer()
            images += options.batch
        passed = time.perf_counter() - start
        print(images / passed, (time.process_time() - before) / images, flush=True)


def network(options: argparse.Namespace, runtime: str, setting: str) -> Callable[[], Any]:
    """Load the network with a setting."""
    if runtime == "onnx":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.add_session_config_entry("session.intra_op.allow_spinning", setting)
        session = onnxruntime.InferenceSession(options.export / "model.onnx", settings)
        (image,) = session.get_inputs()
        batch = np.zeros((options.batch, *image.shape[1:]), np.float32)
        return lambda: session.run(None, {image.name: batch})
    openvino = import_openvino()
    chosen = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": options.threads}
    chosen["ENABLE_CPU_PINNING"] = setting == "1"
    compiled = openvino.Core().compile_model(options.export / "model.xml", "CPU", chosen)
    request, shape = compiled.create_infer_request(), compiled.inputs[0].partial_shape
    values = np.zeros((options.batch, *(side.get_length() for side in list(shape)[1:])), np.float32)
    return lambda: request.infer([values])


if __name__ == "__main__":
    main()
