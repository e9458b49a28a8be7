"""Train segmentation networks on real volumes and pictures, and compare what they find in other patients.

    LORKIT_DATA=... python benchmarks/volume_accuracy.py heads --out /tmp/heads
    LORKIT_DATA=... python benchmarks/volume_accuracy.py hippocampus --out /tmp/hippocampus --seeds 1,2
    LORKIT_DATA=... python benchmarks/volume_accuracy.py retina --out /tmp/retina --seeds 1,2,3
    LORKIT_DATA=... python benchmarks/volume_accuracy.py added --out /tmp/added

`heads`: 24 people, T1 images at 4 mm, 11 regions of the head, each a region of its own whose mask is the union of its
labels; windows of 32 voxels. `hippocampus`: MR of the hippocampus at 1 mm, front and back part, by case. `retina`:
vessels in crops of colour pictures of 11 children, by child. A SegResNet teaches a BasicUNet (3D) or a UNet (2D).

`added`: the hippocampus is added to a run of three regions of the head, and the gate judges the new expert against a
network of its own with as many steps. Prints the gate's document.

All methods of the other studies have the same steps. `decompose compare` stores finished trainings below `--out`, so
that an interrupted benchmark continues. Prints its JSON documents; `--markdown FILE` writes the tables of
docs/benchmarks/volumes.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

HEADS, HIPPOCAMPUS = "second/ixi_muse", "medical/brain_hippocampus/msd_hippocampus"
RETINA = "medical/retina/chasedb1_vessels.npz"
METHODS = {
    "heads": ("mtl", "lorkd"),
    "hippocampus": ("stl", "kd", "rd", "lorkd"),
    "retina": ("stl", "kd", "rd", "lorkd"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=(*METHODS, "added"))
    parser.add_argument("--out", type=Path, required=True, help="working directory")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--methods", help="comma-separated; default: all of the study")
    parser.add_argument("--split", default="test", choices=("val", "test"), help="val to choose settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all methods")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    data = Path(os.environ["LORKIT_DATA"]).resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.study == "added":
        added(data, options.out)
        return
    config = {"heads": heads, "hippocampus": hippocampus, "retina": retina}[options.study](data, options.out)
    (options.out / "decompose.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    words = ["compare", "decompose.yaml", "--json", "--seeds", options.seeds, "--split", options.split]
    words += ["--methods", options.methods or ",".join(METHODS[options.study])]
    words += [word for setting in options.set for word in ("--set", setting)]
    command = [str(Path(sys.executable).with_name("decompose")), *words]
    done = subprocess.run(command, cwd=options.out, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    print(done.stdout)
    if options.markdown:
        options.markdown.write_text(markdown(json.loads(done.stdout)), encoding="utf-8")


def heads(data: Path, out: Path) -> dict[str, Any]:
    """Write a mask of each region of the head, and return the settings."""
    numbers: dict[str, list[int]] = defaultdict(list)
    with (data / HEADS / "labels.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["region"] not in ("Background", "Other"):
                numbers[row["region"]].append(int(row["id"]))
    images = sorted((data / HEADS / "images").glob("*.nii.gz"))
    for region, own in numbers.items():
        for name in ("images", "labels"):
            (out / region / name).mkdir(parents=True, exist_ok=True)
        for image in images:
            labels = nib.load(data / HEADS / "labels" / image.name)  # type: ignore[attr-defined]
            mask = np.isin(np.asarray(labels.dataobj), own).astype(np.uint8)
            nib.save(nib.Nifti1Image(mask, labels.affine), out / region / "labels" / image.name)  # type: ignore[attr-defined]
            link = out / region / "images" / image.name
            if not link.exists():
                link.symlink_to(image)
    regions = {
        region: {"data": region, "structures": [region.lower()], "spacing": 4, "intensity": "percentile"}
        for region in numbers
    }
    return {
        "name": "heads",
        "method": "lorkd",
        "image": {"size": [32, 32, 32], "channels": 1},
        "regions": {name.lower(): settings for name, settings in regions.items()},
        "foundation": {"backbone": "segresnet", "epochs": 10},
        "student": {"backbone": "basicunet"},
        "train": {"epochs": 10, "batch_size": 22, "min_steps": 150},
    }


def hippocampus(data: Path, out: Path) -> dict[str, Any]:
    """Return the settings."""
    del out
    region = {"data": str(data / HIPPOCAMPUS), "structures": ["anterior", "posterior"], "spacing": 1}
    return {
        "name": "hippocampus",
        "method": "rd",
        "image": {"size": [32, 32, 32], "channels": 1},
        "regions": {"hippocampus": {**region, "intensity": "percentile"}},
        "foundation": {"backbone": "segresnet", "epochs": 8},
        "student": {"backbone": "basicunet"},
        "train": {"epochs": 8, "batch_size": 8},
    }


def retina(data: Path, out: Path) -> dict[str, Any]:
    """Return the settings."""
    del out
    return {
        "name": "retina",
        "method": "rd",
        "image": {"size": 128, "channels": 3},
        "regions": {"retina": {"data": str(data / RETINA)}},
        "foundation": {"backbone": "segresnet", "epochs": 10},
        "student": {"backbone": "unet"},
        "train": {"epochs": 10, "batch_size": 4, "min_steps": 300},
    }


def added(data: Path, out: Path) -> None:
    """Add the hippocampus to a run of three regions of the head, and print the gate's verdict on it."""
    config = heads(data, out)
    regions = {name: config["regions"][name] for name in ("cerebellum", "parietal", "frontal")}
    short = {"epochs": 10, "batch_size": 6, "min_steps": 200}
    base = {**config, "name": "heads3", "regions": regions, "train": short}
    new = {**hippocampus(data, out), "method": "lorkd", "split": {"test": 0.4, "val": 0.15}}
    new |= {"foundation": base["foundation"], "train": {**short, "epochs": 8}}
    for name, one in (("base", base), ("hippocampus", new)):
        (out / f"{name}.yaml").write_text(yaml.safe_dump(one, sort_keys=False), encoding="utf-8")

    def run(*words: str) -> dict[str, Any]:
        command = [str(Path(sys.executable).with_name("decompose")), *words, "--json"]
        done = subprocess.run(command, cwd=out, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode not in (0, *((1, 3) if words[0] == "gate" else ())):
            sys.exit(done.returncode)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    earlier = run("train", "base.yaml")["run"]
    grown = run("train", "hippocampus.yaml", "--from", earlier, "--add-region", "hippocampus")["run"]
    taught = ("--set", f"foundation.weights={out.resolve() / grown / 'foundation'}")
    single = run("train", "hippocampus.yaml", "--method", "stl", *taught)["run"]
    exports = []
    for one in (single, grown):
        run("extract", "--run", one, "--region", "hippocampus")
        built = run("export", "--run", one, "--region", "hippocampus", "--target", "onnx")["exports"]
        exports.append(next(row["path"] for row in built if row["owner"] == "expert"))
    sides = ("--baseline", exports[0], "--candidate", exports[1])
    print(json.dumps(run("gate", *sides, "--max-accuracy-drop", "0.03")))


def markdown(document: dict[str, Any]) -> str:
    """Return a table of the methods, and of the Dice of each region."""
    metric = document["metric"]
    regions = sorted(document["table"][0]["regions"]) if document["table"] else []
    shown = regions if len(regions) > 1 else []
    head = ["method", metric, "sd of seeds", *shown, "seconds per training"]
    lines = [_row(head), _row(["---"] * len(head))]
    for row in document["table"]:
        cells = [f"`{row['label']}`", _interval(row[metric], row["ci"]), f"{row['sd'] or 0.0:.3f}"]
        cells += [f"{row['regions'][name]:.3f}" for name in shown]
        lines.append(_row([*cells, f"{row['train_seconds']:.0f}"]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _interval(value: float, ci: list[float] | None) -> str:
    return f"{value:.3f}" if ci is None else f"{value:.3f} [{ci[0]:.3f}, {ci[1]:.3f}]"


if __name__ == "__main__":
    main()
