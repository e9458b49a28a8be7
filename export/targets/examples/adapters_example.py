"""Run one image or volume through the base and the adapter of its region. Needs onnxruntime, numpy and Pillow.

Not for diagnosis. Usage: python adapters_example.py IMAGE.png|VOLUME.nii.gz [MASK.png|MASK.nii.gz] --region NAME
"""

import importlib
import json
import os
import sys
from pathlib import Path


def main() -> None:
    """Print what the network of the region finds in one image as JSON."""
    sys.dont_write_bytecode = True  # an export holds the files that its manifest lists, and no others
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use over the network otherwise
    import onnxruntime

    example, here = importlib.import_module("example"), Path(__file__).parent
    source, target, region = example.arguments()
    about = json.loads((here / "export.json").read_text(encoding="utf-8"))
    image = example.read(source, about["recipe"])
    given = example.inputs(image, about, region)  # stops unless the region is one of the network's
    session = onnxruntime.InferenceSession(here / "base.onnx", providers=["CPUExecutionProvider"])
    adapter, options = onnxruntime.LoraAdapter(), onnxruntime.RunOptions()
    adapter.Load(str(here / f"base.{region}.onnx_adapter"))
    options.add_active_adapter(adapter)  # keep `adapter`: the options only point to it
    (logits,) = session.run(["logits"], {"image": given["image"]}, options)
    outputs = {f"logits_{region}": logits[0]}
    print(json.dumps(example.answer_all(outputs, image, about, source, target, region)))


if __name__ == "__main__":
    main()
