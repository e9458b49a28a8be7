"""`samples.npz`: inputs beside an export, with the outputs of its source for them, each under its name.

Shapes: N images, C channels, *spatial axes.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.documents.heads import IMAGE, REGION
from lorkit.decompose.errors import ArtifactError
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.reference_images import ReferenceImages
from lorkit.export.targets.base import Outputs

SAMPLES = "samples.npz"


@dataclass(frozen=True, kw_only=True)
class Samples(ReferenceImages):
    """Content of `samples.npz`: images that the export may contain, and the source's `outputs` (N, ...) for them."""

    outputs: Outputs


def write_samples(directory: Path, samples: Samples, *, first: str = IMAGE) -> None:
    """Write `samples.npz` into an export, the images by the name `first`; masks are its `targets`."""
    arrays = {
        first: samples.images, REGION: samples.region_N, **samples.outputs, "targets": samples.masks,
        "labels": samples.labels,
    }  # fmt: skip
    plain: dict[str, Any] = {name: np.ascontiguousarray(one) for name, one in arrays.items() if one is not None}
    stream = io.BytesIO()
    np.savez_compressed(stream, **plain)
    write_bytes(directory / SAMPLES, stream.getvalue())


def read_samples(exported: Exported) -> Samples:
    """Read the samples of an export; raise ArtifactError if they are missing or damaged."""
    path, about = exported.path / SAMPLES, exported.info.kept_samples
    if SAMPLES not in exported.manifest.files:
        raise ArtifactError(f"{exported.path} lacks {SAMPLES}", required="a complete export", fix="export it again")
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        lacking = {*exported.info.inputs, *exported.info.output_names} - set(arrays)
        if lacking:
            raise KeyError(", ".join(lacking))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__})", required="an intact export", fix="export it again"
        ) from None
    kind = "seeded" if about is None else about.inputs
    return Samples(
        images=arrays[exported.info.inputs[0]],
        region_N=arrays.get(REGION),
        outputs={name: arrays[name] for name in exported.info.output_names},
        masks=arrays.get("targets"),
        labels=arrays.get("labels"),
        kind=kind,
    )
