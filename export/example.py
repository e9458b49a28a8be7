"""Classify one image with an exported network. Needs onnxruntime, numpy and Pillow. Not for diagnosis.

Usage: python example.py IMAGE.png
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image


def read(path: str) -> NDArray[Any]:
    """Read a PNG or JPEG as (H, W) or (H, W, 3); 16-bit gray keeps its range."""
    with Image.open(path) as image:
        if image.mode.startswith("I"):
            return np.asarray(image).astype(np.uint16)
        return np.asarray(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))


def prepare(image: NDArray[Any], recipe: dict[str, Any]) -> NDArray[np.float32]:
    """Apply the recipe that the graph carries: intensity, size, channels. Returns (C, H, W) float32 in [0, 1]."""
    intensity, resize, channels, _ = recipe["steps"]  # the last step, normalise, is inside the graph
    values = image.astype(np.float32)
    if intensity["rule"] == "window":
        low, high = intensity["low"], intensity["high"]
    elif intensity["rule"] == "percentile":
        low, high = (float(bound) for bound in np.percentile(values, (intensity["low"], intensity["high"])))
    else:
        low, high = 0.0, float(np.iinfo(image.dtype).max)
    if high <= low:
        values = np.zeros_like(values)
    else:
        values = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0, dtype=np.float32)
    height, width = resize["size"]
    planes = [values] if values.ndim == 2 else list(np.moveaxis(values, -1, 0))
    if values.shape[:2] != (height, width):
        planes = [
            np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BILINEAR))
            for plane in planes
        ]
    stacked = np.stack(planes)
    if channels["count"] == 1 and len(stacked) == 3:
        luma = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        stacked = np.clip(np.moveaxis(stacked, 0, -1) @ luma, 0.0, 1.0, dtype=np.float32)[None]
    return np.repeat(stacked, channels["count"] // len(stacked), axis=0)


def main() -> None:
    """Print the logits and probabilities of one image as JSON."""
    model = Path(__file__).with_name("model.onnx")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    notes = session.get_modelmeta().custom_metadata_map
    image = prepare(read(sys.argv[1]), json.loads(notes["lorkit.recipe"]))
    logits = session.run(["logits"], {"image": image[None]})[0][0].astype(float)
    weights = np.exp(logits - logits.max())
    result = {
        "classes": json.loads(notes["lorkit.classes"]),
        "logits": logits.tolist(),
        "probabilities": (weights / weights.sum()).tolist(),
        "synthetic": notes["lorkit.synthetic"] == "true",
        "not_for_diagnosis": True,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
