"""Send one image to a Triton server that serves this export. Needs tritonclient[grpc], numpy and Pillow.

Not for diagnosis. The server describes the preprocessing; `example.py` in this directory applies it.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton


def main(source: str, target: str | None, url: str, model: str) -> None:
    """Print what the served network finds in one image as JSON."""
    sys.dont_write_bytecode = True  # an export holds the files that its manifest lists, and no others
    example = importlib.import_module("example")
    with triton.InferenceServerClient(url) as client:
        config = client.get_model_config(model, as_json=True)["config"]
        notes = {key: value["string_value"] for key, value in config["parameters"].items()}
        about = example.described(notes)
        image = example.read(source, about["recipe"])
        wanted = [triton.InferRequestedOutput("logits")]

        def run(given: dict[str, Any]) -> dict[str, Any]:
            tensor = triton.InferInput("image", list(given["image"].shape), "FP32")
            tensor.set_data_from_numpy(given["image"])
            found = client.infer(model, [tensor], outputs=wanted, client_timeout=60)
            return {"logits": found.as_numpy("logits")}

        logits = example.run_network(run, image, about, source)["logits"]
    print(json.dumps(example.answer(logits, image, about, source, target) | {"model": model}))


if __name__ == "__main__":
    served = [path.parent.name for path in Path(__file__).parent.glob("triton/*/config.pbtxt")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", help="PNG, JPEG or, with nibabel, NIfTI")
    parser.add_argument("--mask", help="file for the mask of a segmentation")
    parser.add_argument("--url", default="localhost:8001", help="the server's gRPC port; default: %(default)s")
    parser.add_argument(
        "--model", default=served[0] if served else None, help="default: that of the repository in this directory"
    )
    options = parser.parse_args()
    if options.model is None:
        parser.error("no repository in this directory; name the model with --model")
    main(options.image, options.mask, options.url, options.model)
