"""Score nodes of a graph with the exported network. Needs onnxruntime and numpy.

Usage: python example.py NODES.npy, float32 (N, groups, relations, hops + 1, features + 1) as `recipe` in `export.json`
describes it; without a file the nodes in `samples.npz`. Prints one line of JSON per node: the probability of each
class; the score, of two classes the probability of the second minus that of the first; and the answer, by the
threshold that validation chose.
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


def answer(shares: list[float], limit: float | None) -> int:
    """Return the index of the answer: the most probable class, or the second of two from a threshold on."""
    return shares.index(max(shares)) if limit is None else int(shares[1] >= limit)


def main(arguments: list[str]) -> None:
    """Print probabilities, score and answer of every node."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use over the network otherwise
    import onnxruntime

    session = onnxruntime.InferenceSession(str(HERE / "model.onnx"), providers=["CPUExecutionProvider"])
    about: dict[str, Any] = session.get_modelmeta().custom_metadata_map
    classes = json.loads(about["lorkit.classes"])
    decision = json.loads(about.get("lorkit.decision", "{}"))
    limit = decision.get("thresholds", {}).get(classes[1]) if len(classes) == 2 else None
    (logits,) = session.run(["logits"], {"nodes": nodes(arguments)})
    if not np.isfinite(logits).all():
        print("error: the network answers with NaN or infinity; required: finite outputs", file=sys.stderr)
        sys.exit(4)
    for row in softmax(logits / (decision.get("temperature") or 1.0)).tolist():
        highest, next_ = row[::-1] if len(row) == 2 else sorted(row)[:-3:-1]
        named = dict(zip(classes, row, strict=True))
        print(json.dumps({"score": highest - next_, "probabilities": named, "answer": classes[answer(row, limit)]}))


if __name__ == "__main__":
    main(sys.argv[1:])
