"""Names that a shell completes: runs, regions, profiles, methods and targets, from small files and lists only."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

RUNS = Path("runs")
METHODS = (
    "lorkd", "mola-grad", "mola-router", "hard-router", "rd", "drd", "mtl", "stl", "mtl-kd", "stl-kd", "mtl-pcgrad",
    "mtl-cagrad", "mtl-aligned", "mtl-upgrad", "mtl-nash", "mmoe", "kd", "lora-kd", "finetune-kd", "fitnet", "rkd",
    "sp", "dist", "cka", "skd", "cwd", "finetune", "linear-probe", "lora", "ragformer", "gaga", "mlp-own",
)  # fmt: skip
"""As in `decompose.methods`, which imports torch: a shell does not wait for that."""
COMPARED = (
    *METHODS, "trees-own", "trees-tokens", "gcn", "rgcn", "ragformer-no-mixing", "ragformer-no-topology",
    "ragformer-no-fusion", "ragformer-no-group-sizes", "ragformer-no-label-dropout",
)  # fmt: skip
"""Methods of `compare`, with those that only it takes."""
TARGETS = ("aoti", "monai", "onnx", "onnx-adapters", "openvino", "torch-trt", "triton", "trt", "trt-rtx")
"""As in `export.targets`."""


def runs(incomplete: str) -> list[str]:
    """Return the finished runs of this directory, newest first."""
    return _beginning(incomplete, (path.name for path in _runs()))


def regions(context: typer.Context, incomplete: str) -> list[str]:
    """Return the regions of the run that the words before name, or of the newest; after a comma the further ones."""
    name = context.params.get("run")
    places = [Path(name), RUNS / name] if isinstance(name, str) else _runs()[:1]
    known = next((found for place in places if (found := _regions_of(place))), [])
    return _listed(incomplete, known, alone=["all"] * bool(known))


def profiles(incomplete: str) -> list[str]:
    """Return the built-in profiles."""
    from lorkit.profiles import available

    return _beginning(incomplete, available())


def method(incomplete: str) -> list[str]:
    """Return the methods that train a run."""
    return _beginning(incomplete, METHODS)


def methods(incomplete: str) -> list[str]:
    """Return the methods that can be compared; after a comma the further ones."""
    return _listed(incomplete, COMPARED)


def targets(incomplete: str) -> list[str]:
    """Return the deployment formats."""
    return _beginning(incomplete, TARGETS)


def _listed(incomplete: str, names: Sequence[str], *, alone: Sequence[str] = ()) -> list[str]:
    """Complete the last of names that commas separate; `alone` is for a list of one."""
    head, comma, last = incomplete.rpartition(",")
    named = head.split(",") if comma else []
    options = [one for one in names if one not in named] + ([] if comma else list(alone))
    return [f"{head}{comma}{one}" for one in _beginning(last, options)]


def _runs() -> list[Path]:
    found = [path.parent for path in RUNS.glob("*/manifest.json") if (path.parent / "regions.json").is_file()]
    return sorted(found, key=lambda path: (path / "manifest.json").stat().st_mtime, reverse=True)


def _regions_of(run: Path) -> list[str]:
    try:
        return [str(row["name"]) for row in json.loads((run / "regions.json").read_text(encoding="utf-8"))["regions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _beginning(start: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(start)]
