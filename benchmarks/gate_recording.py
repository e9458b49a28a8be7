"""Record raw times of equal and of slower networks, as the gate times them, for `benchmarks/gate.py`.

    python benchmarks/gate_recording.py --condition idle --seconds 60 --out benchmarks/recordings

One call is one process: it loads the baseline first, the candidates in random order, and the baseline again last (as
the gate does), warms them up and times them interleaved. A candidate is the same network with 0, 5 or 10 % more layers
of the same kind. Conditions other than idle keep cores busy with processes that multiply matrices.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.machine import fingerprint
from lorkit.export.benchmarking.interleaving import (
    TimedEngine,
    random_inputs,
    runs_per_block,
    time_interleaved,
    warm_up,
)

CONDITIONS = {"idle": 0, "one": 1, "both": 2}
"""Busy processes beside the measurement."""
LAYERS = {"baseline": 20, "twin": 20, "plus5": 21, "plus10": 22, "control": 20}
REFERENCE = "reference"
"""A product of matrices that is timed beside the arms, for the protocol that normalises by it."""
SIZE, WIDTH = 32, 12
_TICK_MS = 1e-4
_SLICE = 500


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--condition", choices=sorted(CONDITIONS), required=True)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--out", type=Path, required=True, help="directory of the recordings")
    options = arguments.parse_args()
    print(record(options.out, options.condition, options.seconds))


def record(directory: Path, condition: str, seconds: float) -> Path:
    """Time all networks for `seconds`; write `gate-<condition>-<number>.npz` and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    number = len(list(directory.glob(f"gate-{condition}-*.npz")))
    generator = np.random.default_rng([CONDITIONS[condition], number])
    with tempfile.TemporaryDirectory() as folder, busy(CONDITIONS[condition]):
        arms = _arms(Path(folder), generator)
        warm = [warm_up(arm) for arm in arms if arm.name != REFERENCE]
        runs = runs_per_block(min(warm))
        before, deadline = os.getloadavg(), time.perf_counter() + seconds
        parts: list[np.ndarray] = []
        while time.perf_counter() < deadline:
            start = sum(map(len, parts))
            parts.append(time_interleaved(arms, _SLICE, runs=runs, generator=generator, deadline=deadline, start=start))
    times_PA = np.concatenate(parts)
    about = {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "condition": condition,
        "runs": runs,
        "warm_ms": warm,
        "load_average": [before, os.getloadavg()],
        "machine": fingerprint(),
    }
    path = directory / f"gate-{condition}-{number:03d}.npz"
    ticks = {arm.name: np.round(times_PA[:, index] / _TICK_MS).astype(np.uint32) for index, arm in enumerate(arms)}
    np.savez_compressed(path, about=np.array(json.dumps(about)), **ticks)  # type: ignore[arg-type]
    return path


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Return the milliseconds per run of each network, and the description of the recording."""
    with np.load(path, allow_pickle=False) as stored:
        times = {name: stored[name] * _TICK_MS for name in stored.files if name != "about"}
        return times, json.loads(str(stored["about"]))


def write_network(path: Path, layers: int) -> None:
    """Write a residual network of equal 3 x 3 convolutions with 12 channels at 32 x 32."""
    generator = np.random.default_rng(0)
    weights: list[onnx.TensorProto] = []

    def weight(name: str, outputs: int, inputs: int) -> str:
        value = generator.normal(scale=(9 * inputs) ** -0.5, size=(outputs, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(value, name))
        return name

    nodes = [helper.make_node("Conv", ["image", weight("stem", WIDTH, 3)], ["x0"], pads=[1] * 4)]
    for index in range(layers):
        kernel = weight(f"w{index}", WIDTH, WIDTH)
        nodes.append(helper.make_node("Conv", [f"x{index}", kernel], [f"c{index}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        nodes.append(helper.make_node("Add", [f"x{index}", f"r{index}"], [f"x{index + 1}"]))
    nodes.append(helper.make_node("GlobalAveragePool", [f"x{layers}"], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["logits"]))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", WIDTH])
    graph = helper.make_graph(nodes, "gate", [image], [logits], initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep cores busy."""
    loads = [multiprocessing.Process(target=_multiply, daemon=True) for _ in range(processes)]
    for load in loads:
        load.start()
    try:
        yield
    finally:
        for load in loads:
            load.kill()
            load.join()


def _arms(folder: Path, generator: np.random.Generator) -> list[TimedEngine]:
    between = [str(name) for name in generator.permutation(["twin", "plus5", "plus10"])]
    loaded = {name: _arm(name, folder) for name in ("baseline", *between, "control")}
    matrix = np.random.default_rng(0).random((128, 128), dtype=np.float32)
    reference = TimedEngine(REFERENCE, lambda image: matrix @ matrix, random_inputs((1,), seed=0))
    return [loaded[name] for name in LAYERS] + [reference]


def _arm(name: str, folder: Path) -> TimedEngine:
    import onnxruntime  # after lorkit, which turns its telemetry off

    path = folder / f"{name}.onnx"
    write_network(path, LAYERS[name])
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def run(image: Float32Array) -> object:
        return session.run(None, {"image": image})

    return TimedEngine(name, run, random_inputs((1, 3, SIZE, SIZE), seed=0))


def _multiply() -> None:
    matrix = np.random.default_rng(0).random((192, 192))
    while True:
        matrix @ matrix


if __name__ == "__main__":
    main()
