"""Compare MoLA with other methods under the three kinds of heterogeneity: regions, domains, tasks on the same images.

    LORKIT_DATA=... python benchmarks/heterogeneity.py regions --out /tmp/regions --seeds 1,2,3
    LORKIT_DATA=... python benchmarks/heterogeneity.py domains --out /tmp/domains --seeds 1,2,3
    LORKIT_DATA=... python benchmarks/heterogeneity.py same-images --out /tmp/same --seeds 1,2,3

`regions`: five regions of public images at 32 pixels, a quarter of the patients. `domains`: brain MRI under four
simulated scanners, each patient under one of them; the classes are the same everywhere. `same-images`: fundus images
with vessel masks, and a grade that is derived from the masks (the share of vessel pixels in thirds).

`decompose compare` stores finished trainings below `--out`, so that an interrupted benchmark continues. Prints its JSON
document; `--methods` selects some of the methods, `--markdown FILE` writes the tables of docs/benchmarks/routing.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

BALANCERS = "mtl-pcgrad,mtl-cagrad,mtl-aligned,mtl-upgrad,mtl-nash"
METHODS = {
    "regions": f"mola-grad,mola-router,mtl,{BALANCERS},hard-router,mmoe,stl",
    "domains": "mola-grad,mola-router,mtl,mmoe,stl",
    "same-images": "mola-grad,mtl,stl",
}
REGIONS = {
    "brain": ("brain/brain_tumor_mri.npz", "mri"),
    "breast": ("breast/busi_ultrasound.npz", "ultrasound"),
    "chest": ("chest/pneumoniamnist_balanced.npz", "xray"),
    "knee": ("knee/knee_oa_xray.npz", "xray"),
    "blood": ("blood/bccd_cells.npz", "microscopy"),
}
_TRAIN = {"epochs": 6, "batch_size": 64, "optimizer": "adamw", "lr": 0.001, "weight_decay": 0.05, "sampling": "sqrt"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=METHODS)
    parser.add_argument("--out", type=Path, required=True, help="working directory")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--methods", help="comma-separated; default: all of the study")
    parser.add_argument("--split", default="test", choices=("val", "test"), help="val to choose settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all methods")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    data = Path(os.environ["LORKIT_DATA"]).resolve() / "medical"
    options.out.mkdir(parents=True, exist_ok=True)
    config = {"regions": regions, "domains": domains, "same-images": same_images}[options.study](data, options.out)
    (options.out / "decompose.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    words = ["compare", "decompose.yaml", "--seeds", options.seeds, "--split", options.split, "--json"]
    words += ["--methods", options.methods or METHODS[options.study]]
    words += ["--fractions", "0.25"] if options.study == "regions" else []
    words += [word for setting in options.set for word in ("--set", setting)]
    command = [str(Path(sys.executable).with_name("decompose")), *words]
    done = subprocess.run(command, cwd=options.out, check=False, stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    if options.markdown and done.returncode == 0:
        options.markdown.write_text(markdown(json.loads(done.stdout)), encoding="utf-8")
    sys.exit(done.returncode)


def markdown(document: dict[str, Any]) -> str:
    """Return a table of the methods, and one of their differences from the first."""
    metric, rows = document["metric"], document["table"]
    regions = list(rows[0]["regions"])
    lines = [
        f"| method | mean | sd of seeds | {' | '.join(regions)} | seconds per training |",
        "|---" * (4 + len(regions)) + "|",
    ]
    for row in rows:
        scores = " | ".join(f"{row['regions'][name]:.3f}" for name in regions)
        seconds = "" if row.get("train_seconds") is None else f"{row['train_seconds']:.0f}"
        lines.append(
            f"| {row['label']} | {_interval(row[metric], row['ci'])} | {row['sd']:.3f} | {scores} | {seconds} |"
        )
    first = rows[0]["label"]
    lines += ["", f"| {first} minus | mean | {' | '.join(regions)} |", "|---" * (2 + len(regions)) + "|"]
    for pair in document["compared_pairs"]:
        if pair["baseline"] == first:
            each = " | ".join(_interval(pair["regions"][name]["drop"], pair["regions"][name]["ci"]) for name in regions)
            lines.append(
                f"| {pair['candidate']} | {_interval(pair['mean_drop']['drop'], pair['mean_drop']['ci'])} | {each} |"
            )
    for row in rows:
        if found := row.get("prediction"):
            lines += [
                "",
                f"{row['label']}: the region is right for {_interval(found['right'], found['ci'])} of the test images.",
            ]
    return "\n".join(lines) + "\n"


def _interval(value: float, bounds: list[float]) -> str:
    return f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def regions(data: Path, out: Path) -> dict[str, object]:
    """Return the settings of five regions of real images."""
    del out
    named = {name: {"data": str(data / path), "modality": kind} for name, (path, kind) in REGIONS.items()}
    return _settings("regions", named, size=32, channels=3)


def domains(data: Path, out: Path) -> dict[str, object]:
    """Write brain MRI as four simulated scanners see it, and return the settings."""
    source = np.load(data / "brain" / "brain_tumor_mri.npz", allow_pickle=False)
    images, groups = source["images"], source["groups"]
    names = np.unique(groups)
    scanner_of = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % len(SCANNERS), strict=True))
    scanner_N = np.array([scanner_of[group] for group in groups])
    for index, (name, see) in enumerate(SCANNERS.items()):
        own = np.flatnonzero(scanner_N == index)
        rng = np.random.default_rng(index)
        seen = np.stack([see(images[one].astype(np.float64) / 255, rng) for one in own])
        arrays = {key: source[key][own] for key in ("labels", "ids", "groups")}
        pixels = (255 * np.clip(seen, 0, 1)).round().astype(np.uint8)
        np.savez(out / f"{name}.npz", images=pixels, label_names=source["label_names"], **arrays)
    return _settings("domains", {name: {"data": f"{name}.npz"} for name in SCANNERS}, size=32, channels=1)


def same_images(data: Path, out: Path) -> dict[str, object]:
    """Write a grade beside the masks of the same fundus images, and return the settings."""
    source = np.load(data / "retina" / "chasedb1_vessels.npz", allow_pickle=False)
    share_N = (source["masks"] > 0).mean((1, 2))
    grade_N = np.digitize(share_N, np.quantile(share_N, [1 / 3, 2 / 3]))
    shared = {key: source[key] for key in ("images", "ids", "groups")}
    np.savez(out / "grade.npz", labels=grade_N, label_names=np.array(["few", "some", "many"]), **shared)
    named = {
        "vessels": {"data": str(data / "retina" / "chasedb1_vessels.npz"), "task": "segmentation"},
        "grade": {"data": "grade.npz"},
    }
    # 7 steps an epoch: in the 42 steps of the other studies no mask is learnt
    changed = {"student": {"backbone": "basicunet"}, "train": {**_TRAIN, "epochs": 24, "lr": 0.003, "batch_size": 32}}
    return _settings("same-images", named, size=64, channels=3) | changed


def _settings(name: str, regions: dict[str, dict[str, str]], *, size: int, channels: int) -> dict[str, object]:
    return {
        "name": name,
        "method": "mola-grad",
        "image": {"size": size, "channels": channels},
        "regions": regions,
        "split": {"val": 0.15, "test": 0.15, "by": "group"},
        "foundation": {"backbone": "resnet18", "epochs": 2},  # only measured beside the methods
        "student": {"backbone": "resnet18"},
        "train": _TRAIN,
        "mola": {"rank": 4, "alpha": 16},
    }


Picture = NDArray[np.float64]


def plain(image: Picture, rng: np.random.Generator) -> Picture:
    """A little noise."""
    return image + rng.normal(0, 0.01, image.shape)


def bright(image: Picture, rng: np.random.Generator) -> Picture:
    """A bright contrast curve (gamma 0.6) and Rician noise."""
    real, imaginary = rng.normal(0, 0.06, (2, *image.shape))
    return np.hypot(image**0.6 + real, imaginary)


def coarse(image: Picture, rng: np.random.Generator) -> Picture:
    """A dark contrast curve (gamma 1.6) at half the resolution."""
    half = zoom(gaussian_filter(image**1.6, 1.0), 0.5, order=1)
    return zoom(half, np.array(image.shape) / half.shape, order=1) + rng.normal(0, 0.02, image.shape)


def uneven(image: Picture, rng: np.random.Generator) -> Picture:
    """A smooth field over the image, between half and one and a half times the signal, and noise."""
    field = gaussian_filter(rng.normal(size=image.shape), image.shape[0] / 4)
    return image * (1 + 0.5 * field / np.abs(field).max()) + rng.normal(0, 0.04, image.shape)


SCANNERS = {"plain": plain, "bright": bright, "coarse": coarse, "uneven": uneven}


if __name__ == "__main__":
    main()
