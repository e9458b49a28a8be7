"""`samples.npz`: images beside an export, with the logits of its source for them.

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
from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import ArtifactError
from lorkit.export.runtime.exported import Exported
from lorkit.export.runtime.parity import ReferenceImages

SAMPLES = "samples.npz"


@dataclass(frozen=True, kw_only=True)
class Samples(ReferenceImages):
    """Content of `samples.npz`: images that the export may contain, and the source's `logits` (N, ...) for them."""

    logits: Float32Array


def write_samples(directory: Path, samples: Samples) -> None:
    """Write `samples.npz` into an export; masks are its `targets`."""
    arrays = {
        "image": samples.images, "logits": samples.logits, "targets": samples.masks, "labels": samples.labels
    }  # fmt: skip
    plain: dict[str, Any] = {name: np.ascontiguousarray(one) for name, one in arrays.items() if one is not None}
    stream = io.BytesIO()
    np.savez_compressed(stream, **plain)
    write_bytes(directory / SAMPLES, stream.getvalue())


def read_samples(exported: Exported) -> Samples:
    """Read the samples of an export; raise ArtifactError if they are missing or damaged."""
    path, about = exported.path / SAMPLES, exported.info.samples
    if SAMPLES not in exported.manifest.files:
        raise ArtifactError(f"{exported.path} lacks {SAMPLES}", required="a complete export", fix="export it again")
    try:
        with np.load(path, allow_pickle=False) as stored:
            images, logits, masks, labels = (stored.get(name) for name in ("image", "logits", "targets", "labels"))
            if images is None or logits is None:
                raise KeyError("image and logits")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{path} cannot be read ({type(error).__name__})", required="an intact export", fix="export it again"
        ) from None
    kind = "seeded" if about is None else about.inputs
    return Samples(images=images, logits=logits, masks=masks, labels=labels, kind=kind)
