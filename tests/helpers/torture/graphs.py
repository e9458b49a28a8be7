"""Graphs of networks that earlier commands traced: tracing reads and writes no file, and takes most of an export."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any


def remember_graphs(folder: Path) -> None:
    """Let this process, a child that ends with its command, take the graph of the same network from a directory."""
    import onnx
    import onnx_ir as ir
    from known_networks import identity
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    from lorkit.export.onnx.conversion import Tracer

    # torch's exporter makes its table of ONNX operators for each graph, for a second
    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign]
    trace = Tracer.graph
    folder.mkdir(exist_ok=True)

    def graph(tracer: Tracer, network: Any, **shape: Any) -> ir.Model:
        found = identity(network)
        if found is None:
            return trace(tracer, network, **shape)
        state, code, forwards = found  # type: ignore[misc]
        names = [f"{one.__module__}.{one.__qualname__}" for one in (*code, *(kind for kind, _ in forwards))]
        key = hashlib.sha256(state + repr((names, sorted(shape.items()))).encode()).hexdigest()
        path = folder / f"{key}.onnx"
        if not path.exists():
            data = ir.to_proto(trace(tracer, network, **shape)).SerializeToString()
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_bytes(data)
            draft.rename(path)
        return ir.from_proto(onnx.load_model_from_string(path.read_bytes()))

    Tracer.graph = graph  # type: ignore[method-assign]
