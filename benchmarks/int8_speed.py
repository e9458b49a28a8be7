"""Speed of int8 at 224 pixels: ONNX Runtime and OpenVINO beside PyTorch and NNCF, the same network, in one process.

    python benchmarks/int8_speed.py --threads 1 --batch 1

An untrained ResNet-18, since weights do not change latency. Every cycle times every engine once in a new random order;
a factor is the median of the paired ratios within cycles, with its 95 % moving-block bootstrap interval. `--cpu` takes
seconds of the processor, which other work on the machine changes less; they are the latency of one thread. NNCF (`pip
install nncf` in an environment of its own) quantises the same graph with the same images; its rows are left out where
it is not installed. With several threads and images, OpenVINO's int8 also runs one image per stream, its hint for
throughput. `peak.py` has the least time that the processor allows. Prints the machine and a table.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import numpy_helper
from torch import nn

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.export.benchmarking.interleaving import random_inputs
from lorkit.export.benchmarking.timing_statistics import paired_ratio
from lorkit.export.onnx.conversion import Tracer
from lorkit.export.onnx.precision import int8
from lorkit.export.runtime.reference_images import seeded_inputs
from lorkit.export.targets.onnx import PROVIDER, session_options

SHAPE, CLASSES, CALIBRATION, SEED = (3, 224, 224), 4, 32, 0
EAGER, OURS = "PyTorch eager fp32", "onnx int8"
Call = Callable[[Float32Array], object]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--batch", type=int, default=1)
    arguments.add_argument("--cycles", type=int, default=60)
    arguments.add_argument("--cpu", action="store_true", help="seconds of the processor, of one thread")
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    backbone = build_backbone("resnet18", channels=SHAPE[0], image_size=SHAPE[1:])
    network = nn.Sequential(backbone, nn.Linear(512, CLASSES)).eval()
    calls = {EAGER: _eager(network), **_engines(network, options.threads, streams=options.batch > 1 < options.threads)}
    (batch,) = random_inputs((options.batch, *SHAPE), seed=SEED, count=1)
    clock = time.process_time if options.cpu else time.perf_counter
    times_PA = _times(list(calls.values()), batch, options.cycles, clock)
    print(json.dumps({"machine": fingerprint(), "versions": tool_versions()}))
    print(_table(list(calls), times_PA, f"batch {options.batch}, threads {options.threads}"))


def _times(calls: list[Call], batch: Float32Array, cycles: int, clock: Callable[[], float]) -> np.ndarray:
    """Return the milliseconds of every call in every cycle, after two that are not counted."""
    generator, times_PA = np.random.default_rng(SEED), np.zeros((cycles, len(calls)))
    for call in calls * 2:
        call(batch)
    for row_A in times_PA:
        for index in generator.permutation(len(calls)):
            begin = clock()
            calls[index](batch)
            row_A[index] = 1e3 * (clock() - begin)
    return times_PA


def _engines(network: nn.Module, threads: int, *, streams: bool) -> dict[str, Call]:
    model = ir.to_proto(Tracer().graph(network, channels=SHAPE[0], size=SHAPE[1:]))
    images = seeded_inputs(SHAPE, CALIBRATION)
    (name,) = (value.name for value in model.graph.input)
    rounded = int8.quantise(model, {name: images}, "asymmetric")
    engines = {
        "onnx fp32": _onnx(model, threads),
        OURS: _onnx(rounded, threads),
        "onnx int8, biases in fp32": _onnx(_with_biases(rounded), threads),
        "openvino int8": _openvino(rounded, threads, "f32"),
        "openvino int8, biases in fp32": _openvino(_with_biases(rounded), threads, "f32"),
        "openvino bf16": _openvino(model, threads, "bf16"),
    }
    if streams:
        engines["openvino int8, an image per stream"] = _streams(rounded, threads)
    if importlib.util.find_spec("nncf") is not None:
        import nncf

        data = nncf.Dataset([images[at : at + 1] for at in range(CALIBRATION)], lambda image: {name: image})
        theirs = nncf.quantize(model, data, subset_size=CALIBRATION)
        engines["NNCF's int8 in ONNX Runtime"] = _onnx(theirs, threads)
        engines["NNCF's int8 in OpenVINO"] = _openvino(theirs, threads, "f32")
    return engines


def _with_biases(rounded: onnx.ModelProto) -> onnx.ModelProto:
    """Return an int8 graph whose biases are stored in fp32, as NNCF leaves them."""
    found = onnx.ModelProto.FromString(rounded.SerializeToString())
    stored = {one.name: numpy_helper.to_array(one) for one in found.graph.initializer}
    for node in [one for one in found.graph.node if one.op_type == "DequantizeLinear"]:
        bits = stored.get(node.input[0])
        if bits is not None and bits.dtype == np.int32:
            values = (bits * stored[node.input[1]]).astype(np.float32)
            found.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            found.graph.node.remove(node)
    return found


def _eager(network: nn.Module) -> Call:
    def run(batch: Float32Array) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    return run


def _onnx(model: onnx.ModelProto, threads: int) -> Call:
    import onnxruntime

    # as exports: threads that go on spinning after a run would take a core from the engine that is timed next
    options = session_options(threads, PROVIDER)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})


def _openvino(model: onnx.ModelProto, threads: int, precision: str) -> Call:
    import openvino

    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
    }
    read = openvino.Core().read_model(model.SerializeToString())
    request = openvino.Core().compile_model(read, "CPU", settings).create_infer_request()
    return lambda batch: request.infer([batch], share_inputs=True)


def _streams(model: onnx.ModelProto, threads: int) -> Call:
    """Return a function that gives each image of a batch to a stream of one thread."""
    import openvino

    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads}
    read = openvino.Core().read_model(model.SerializeToString())
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(read, "CPU", settings), threads)

    def run(batch: Float32Array) -> object:
        for at in range(len(batch)):
            queue.start_async([batch[at : at + 1]])
        queue.wait_all()
        return None

    return run


def _table(names: list[str], times_PA: np.ndarray, about: str) -> str:
    lines = [
        f"| {about} | median ms | times PyTorch | times onnx int8 |",
        "|---|---:|---:|---:|",
    ]
    for index, name in enumerate(names):
        factors = [paired_ratio(times_PA[:, index], times_PA[:, names.index(one)], seed=SEED) for one in (EAGER, OURS)]
        cells = [f"{one.ratio:.2f} [{one.ci[0]:.2f}, {one.ci[1]:.2f}]" for one in factors]
        lines.append(f"| {name} | {np.median(times_PA[:, index]):.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
