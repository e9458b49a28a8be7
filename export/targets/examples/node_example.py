"""Score nodes of a graph with the exported network. Needs onnxruntime and numpy.

Usage: python example.py NODES.npy, float32 (N, groups, relations, hops + 1, features + 1) as `recipe` in `export.json`
describes it; without a file the nodes in `samples.npz`. Prints one line of JSON per node.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent


def nodes(arguments: list[str]) -> NDArray[np.float32]:
    """Return the inputs (N, groups, relations, hops + 1, features + 1)."""
    if arguments:
        values: NDArray[np.float32] = np.load(arguments[0], allow_pickle=False)
        return values
    with np.load(HERE / "samples.npz", allow_pickle=False) as samples:
        return np.asarray(samples["nodes"])


def softmax(logits_NC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Convert logits (N, C) to probabilities."""
    weights = np.exp((logits_NC - logits_NC.max(1, keepdims=True)).astype(np.float64))
    shares: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return shares


def main(arguments: list[str]) -> None:
    """Print the probability of each class for every node."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use over the network otherwise
    import onnxruntime

    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])
    about: dict[str, Any] = session.get_modelmeta().custom_metadata_map
    classes = json.loads(about["lorkit.classes"])
    (logits,) = session.run(["logits"], {"nodes": nodes(arguments)})
    for row in softmax(logits).tolist():
        print(json.dumps(dict(zip(classes, row, strict=True))))


if __name__ == "__main__":
    main(sys.argv[1:])
