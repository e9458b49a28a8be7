"""Run one image or volume through the OpenVINO network in this directory. Needs openvino, numpy and Pillow.

Not for diagnosis. Usage: python openvino_example.py IMAGE.png|VOLUME.nii.gz [MASK.png|MASK.nii.gz]
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

modules: dict[str, Any] = sys.modules
modules["openvino_telemetry"] = None  # OpenVINO reports each use over the network otherwise

import openvino  # noqa: E402


def main(source: str, target: str | None) -> None:
    """Print what the network finds in one image as JSON."""
    example, here = importlib.import_module("example"), Path(__file__).parent
    about = json.loads((here / "export.json").read_text(encoding="utf-8"))
    hint = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}[about["precision"]]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    network = openvino.Core().compile_model(here / "model.xml", "CPU", settings)
    image = example.read(source, about["recipe"])
    logits = network({"image": example.prepare(image, about["recipe"])[None]})[0][0]
    print(json.dumps(example.answer(logits, image, about, source, target)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
