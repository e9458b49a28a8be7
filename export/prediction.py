"""Predict: images in, a label with probabilities out, or a refusal. Never a diagnosis.

An export needs its own runtime, numpy and Pillow, no torch; an extracted expert runs by torch.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose import inregion, transforms
from lorkit.decompose.artifacts import SCHEMA_VERSION, read_manifest, verify_chain, write_json, write_text
from lorkit.decompose.errors import ArtifactError, DataError, UsageError
from lorkit.decompose.progress import OnProgress, ignore
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import Run, experts_of, exports_of, open_run
from lorkit.decompose.tasks import get_task
from lorkit.export import inputs as files
from lorkit.export.inference import load_engine
from lorkit.export.targets.base import Floats

DOCUMENT, TABLE = "predictions.json", "predictions.csv"
_CHUNK = 32


@dataclass(frozen=True)
class _Network:
    """A network that can be run, with what its artifact says about it."""

    path: Path
    run: Callable[[Floats], Floats]
    region: Region
    info: dict[str, Any]
    digest: str

    @property
    def recipe(self) -> transforms.Recipe:
        recipe: transforms.Recipe = self.info["recipe"]
        return recipe


def predict(
    path: Path | str | None = None,
    inputs: Iterable[Path | str] = (),
    *,
    run: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    allow_synthetic: bool = False,
    allow_out_of_region: bool = False,
    top: int = 1,
    out: Path | None = None,
    threads: int | None = None,
    on_progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Label images with one expert.

    Args:
        path: An export or an expert directory; without one, `region` of a run is used: its export, else its expert.
        inputs: Image files, or CSV files with a `path` column.
        run: A run by id or path; the newest by default.
        region: Region of the run.
        target: Selects among the exports of the run.
        profile: Selects among the exports of the run.
        precision: Selects among the exports of the run.
        allow_synthetic: Use an expert that has only ever seen drawings.
        allow_out_of_region: Label images that do not look like the region too.
        top: How many classes to list an image.
        out: Directory for `predictions.csv`, `predictions.json` and one JSON file an image, named by its stem.
        threads: CPU threads.
        on_progress: Called with a text, images done and images in all.

    Returns:
        A document with one row an image in `predictions`; `label` is null where the image was refused.

    Raises:
        UsageError: Nothing to predict with or on.
        ArtifactError: The network is damaged, or synthetic and not allowed.
        DataError: An image cannot be read; nothing is written then.
    """
    network = _open(path, run, region, (target, profile, precision), threads)
    if bool(network.info.get("synthetic", True)) and not allow_synthetic:
        raise ArtifactError(
            f"{network.path} has only ever seen drawn phantoms",
            required="an expert trained on images of patients",
            fix="allow it for a test with --allow-synthetic",
        )
    paths = files.expand(inputs)
    rows: list[dict[str, Any]] = []
    for start in range(0, len(paths), _CHUNK):
        on_progress(f"predict {network.region.name}", start, len(paths))
        rows += _rows(network, paths[start : start + _CHUNK], top, allow_out_of_region)
    on_progress(f"predict {network.region.name}", len(paths), len(paths))
    document = _document(network, rows)
    if out is not None:
        _write(document, [files.stem(path) for path in paths], Path(out))
    return document


def _open(
    path: Path | str | None,
    run: Path | str | None,
    region: str | None,
    selection: tuple[str | None, str | None, str | None],
    threads: int | None,
) -> _Network:
    if path is not None:
        kind = read_manifest(Path(path), verify=False).kind
        if kind == "export":
            return _open_export(Path(path), threads)
        if kind == "expert":
            return _open_expert(Path(path), threads)
        if kind != "run":
            raise UsageError(f"{path} is of kind '{kind}'", required="an export, an expert or a run", fix="name one")
        run = path
    opened = open_run(run)
    if region is None and len(opened.regions) == 1:
        region = opened.regions.names[0]
    if region is None or region == "all" or "," in region:
        known = ", ".join(opened.regions.names)
        raise UsageError(f"region {region or '(none)'}", required=f"one of {known}", fix="name one with --region")
    return _open_region(opened, region, selection, threads)


def _open_region(run: Run, region: str, selection: tuple[str | None, ...], threads: int | None) -> _Network:
    target, profile, precision = selection
    entries = exports_of(
        run, owners=("expert",), region=region, target=target or "onnx", profile=profile, precision=precision
    )
    if entries:
        verify_chain(entries[0].path)  # an export of an expert that was replaced since labels as the old one did
        return _open_export(entries[0].path, threads)
    if any(selection):
        raise UsageError(
            f"no such export of region '{region}' in {run.path}",
            required="an export",
            fix=f"run `decompose export --region {region}` with the same --target, --profile and --precision",
        )
    return _open_expert(experts_of(run, region)[region], threads)


def _open_export(path: Path, threads: int | None) -> _Network:
    engine = load_engine(path, threads=threads)
    exported = engine.exported
    return _Network(path, engine.run, exported.as_region(), exported.info, exported.manifest.digest)


def _open_expert(path: Path, threads: int | None) -> _Network:
    import torch

    from lorkit.decompose.expert_artifact import load_expert

    expert = load_expert(path)

    def run(batch: Floats) -> Floats:
        with torch.inference_mode():
            logits: Floats = expert.network(torch.from_numpy(batch)).numpy()
        return logits

    if threads is not None:
        torch.set_num_threads(threads)
    return _Network(path, run, expert.region, expert.info, expert.manifest.digest)


def _rows(network: _Network, paths: Sequence[Path], top: int, allow_out_of_region: bool) -> list[dict[str, Any]]:
    images = np.stack([_prepared(network, path) for path in paths])
    classes = network.region.classes
    decoded = get_task(network.region.task).decode(network.region, network.run(images), top=len(classes))
    check = network.info.get("in_region")
    rows = []
    for path, image, found in zip(paths, images, decoded, strict=True):
        distance, limit, inside = inregion.check(check, image) if check else (None, None, None)
        probabilities = {entry["label"]: entry["probability"] for entry in found["top"]}
        row = {
            "input": str(path),
            "label": found["label"],
            "probability": found["probability"],
            "probabilities": {name: probabilities[name] for name in classes},
            "top": found["top"][: max(1, top)],
            "out_of_region": None if inside is None else not inside,
            "distance": distance,
            "limit": limit,
        }
        if inside is False and not allow_out_of_region:
            row |= {"label": None, "probability": None, "probabilities": None, "top": []}
        rows.append(row)
    return rows


def _prepared(network: _Network, path: Path) -> Floats:
    try:
        return transforms.apply(network.recipe, files.read(path, network.recipe))
    except DataError as error:
        if str(path) in str(error):
            raise
        raise DataError(f"{path}: {error.given}", required=error.required, fix=error.fix) from None


def _document(network: _Network, rows: list[dict[str, Any]]) -> dict[str, Any]:
    refused = sum(row["label"] is None for row in rows)
    notes = []
    if refused:
        notes.append(f"{refused} of {len(rows)} image(s) do not look like region '{network.region.name}': no label")
    if network.info.get("in_region") is None:
        notes.append("this network carries no in-region check: any image gets a label")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "prediction",
        "warnings": notes,
        "not_for_diagnosis": True,
        "synthetic": bool(network.info["synthetic"]),
        "region": network.region.name,
        "task": network.region.task,
        "classes": list(network.region.classes),
        "network": {
            "path": str(network.path),
            "kind": network.info["kind"],
            "digest": network.digest,
            "owner": network.info.get("owner", "expert"),
            "target": network.info.get("target"),
            "precision": network.info.get("precision", "fp32"),
        },
        "predictions": rows,
    }


def _write(document: dict[str, Any], stems: Sequence[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    shared = {key: value for key, value in document.items() if key not in ("predictions", "warnings")}
    for name, row in zip(_distinct(stems), document["predictions"], strict=True):
        write_json(out / f"{name}.json", shared | {"warnings": [], "predictions": [row]})
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["input", "label", "out_of_region", *(f"p_{name}" for name in document["classes"])])
    for row in document["predictions"]:
        values = row["probabilities"] or {}
        shares = [f"{values[name]:.6f}" if name in values else "" for name in document["classes"]]
        writer.writerow([row["input"], row["label"] or "", _cell(row["out_of_region"]), *shares])
    write_text(out / TABLE, stream.getvalue())
    write_json(out / DOCUMENT, document)


def _distinct(stems: Sequence[str]) -> list[str]:
    """Number the stems that would overwrite an earlier image's file, or the list of all."""
    taken = {Path(DOCUMENT).stem}
    names = []
    for wanted in stems:
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _cell(value: bool | None) -> str:
    return "" if value is None else str(value).lower()
