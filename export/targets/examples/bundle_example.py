"""Run one image through the model of the MONAI bundle in this directory. Needs torch, numpy and Pillow, no MONAI.

Not for diagnosis. Usage: python bundle_example.py IMAGE.png|VOLUME.nii.gz [MASK.png|MASK.nii.gz]
"""

import importlib
import json
import sys
import warnings
from pathlib import Path

import torch


def main(source: str, target: str | None) -> None:
    """Print what the network finds in one image as JSON."""
    sys.dont_write_bytecode = True  # an export holds the files that its manifest lists, and no others
    example, bundle = importlib.import_module("example"), Path(__file__).with_name("bundle")
    about = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))["lorkit"]
    warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is old, and what MONAI's bundles hold
    model = torch.jit.load(bundle / "models" / "model.ts", map_location="cpu").eval()  # type: ignore[no-untyped-call]
    image = example.read(source, about["recipe"])
    with torch.inference_mode():
        logits = model(torch.from_numpy(example.prepare(image, about["recipe"])[None]))[0].numpy()
    print(json.dumps(example.answer(logits, image, about, source, target)))


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else None)
