"""Run one image or volume through the OpenVINO network in this directory. Needs openvino, numpy and Pillow.

Not for diagnosis. Usage: python openvino_example.py IMAGE.png|VOLUME.nii.gz [MASK.png|MASK.nii.gz] [--region NAME]
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

modules: dict[str, Any] = sys.modules
modules["openvino_telemetry"] = None  # OpenVINO reports each use over the network otherwise

import openvino  # noqa: E402


def main() -> None:
    """Print what the network finds in one image as JSON."""
    sys.dont_write_bytecode = True  # an export holds the files that its manifest lists, and no others
    example, here = importlib.import_module("example"), Path(__file__).parent
    source, target, region = example.arguments()
    about = json.loads((here / "export.json").read_text(encoding="utf-8"))
    hint = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}[about["precision"]]
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    network = openvino.Core().compile_model(here / "model.xml", "CPU", settings)
    image = example.read(source, about["recipe"])

    def run(given: dict[str, Any]) -> dict[str, Any]:
        found = network(given)
        return {port.any_name: found[port] for port in network.outputs}

    outputs = example.run_network(run, image, about, source, region)
    print(json.dumps(example.answer_all(outputs, image, about, source, target, region)))


if __name__ == "__main__":
    main()
