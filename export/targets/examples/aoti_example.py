"""Run one image or volume through the compiled network in this directory. Needs the same torch, numpy and Pillow.

Not for diagnosis. Usage: python aoti_example.py IMAGE.png|VOLUME.nii.gz [MASK.png|MASK.nii.gz]
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import torch


def main(source: str, target: str | None) -> None:
    """Print what the network finds in one image as JSON."""
    sys.dont_write_bytecode = True  # an export holds the files that its manifest lists, and no others
    example, here = importlib.import_module("example"), Path(__file__).parent
    about = json.loads((here / "export.json").read_text(encoding="utf-8"))
    network = torch._inductor.aoti_load_package(str(here / "model.pt2"))
    device = "cuda" if about["provider"].lower().find("cuda") >= 0 else "cpu"
    image = example.read(source, about["recipe"])

    def run(given: dict[str, Any]) -> dict[str, Any]:
        return {"logits": network(torch.from_numpy(given["image"]).to(device)).float().cpu().numpy()}

    with torch.inference_mode():
        outputs = example.run_network(run, image, about, source)
    print(json.dumps(example.answer(outputs["logits"], image, about, source, target)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
