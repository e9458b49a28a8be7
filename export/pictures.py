"""Pictures of a report: the outlines of masks on images, from the samples of exports.

An export holds images of patients only where its run allows that (`privacy.embed_images`), and drawn phantoms; those
alone are shown. Everything else of a report is numbers.

Shapes: (C, *spatial) image, (1 + S, *spatial) logits, (*spatial) mask; a volume shows one slice across its last axis,
the axial plane, with the patient's right on the left and the front on top.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.errors import ArtifactError
from lorkit.export.exported import Exported
from lorkit.export.masks import Mask, colour, decode, dice, outline
from lorkit.export.packaging import SAMPLES
from lorkit.export.targets.base import Floats

_MOST = 4
_SIDE = 256
_WHITE = (255, 255, 255)


def pictures_of(exports: Sequence[Exported]) -> dict[str, list[dict[str, Any]]]:
    """Draw a few cases of each region, from the first export of its expert that holds any.

    Returns:
        By region, a list that may be empty; each picture has `png` (base64), `width` and `height` in pixels, `slice`
        (None of single images), `annotated`, and `dice` by structure.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for one in exports:
        shown = one.owner == "expert" and (one.info.get("samples") or {}).get("inputs") in ("real", "phantom")
        if shown and not found.get(one.region):
            found[one.region] = _drawn(one)
        found.setdefault(one.region, [])
    return found


def _drawn(exported: Exported) -> list[dict[str, Any]]:
    try:
        with np.load(exported.path / SAMPLES, allow_pickle=False) as stored:
            images, logits = stored["image"][:_MOST], stored["logits"][:_MOST]
            targets = stored["targets"][:_MOST] if "targets" in stored else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ArtifactError(
            f"{exported.path / SAMPLES} cannot be read ({type(error).__name__})",
            required="an intact export",
            fix="export it again with --force",
        ) from None
    wanted = [None] * len(images) if targets is None else list(targets)
    return [_picture(*case, exported.classes) for case in zip(images, logits, wanted, strict=True)]


def _picture(image: Floats, logits: Floats, wanted: Mask | None, structures: Sequence[str]) -> dict[str, Any]:
    mask = decode(logits)
    scores = {} if wanted is None else dict(zip(structures, dice(mask, wanted, len(structures)).tolist(), strict=True))
    at = None if mask.ndim == 2 else _fullest(mask if wanted is None else wanted)
    plane = _plane(image, at)
    drawn = overlay(plane, _plane(mask[None], at)[0], None if wanted is None else _plane(wanted[None], at)[0])
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, format="PNG", optimize=True)
    return {
        "png": base64.b64encode(stream.getvalue()).decode("ascii"),
        "width": drawn.shape[1],
        "height": drawn.shape[0],
        "slice": at,
        "annotated": wanted is not None,
        "dice": {name: None if np.isnan(value) else value for name, value in scores.items()},
    }


def overlay(image: Floats, mask: Mask, wanted: Mask | None) -> NDArray[np.uint8]:
    """Return an image beside itself with outlines: what should be found in white, what was found in colour above it.

    Args:
        image: (C, H, W) in [0, 1].
        mask: (H, W), found.
        wanted: (H, W), annotated.

    Returns:
        (h, w, 3), enlarged by a whole number so that an outline hides less than a pixel.
    """
    factor = max(1, -(-_SIDE // max(mask.shape)))
    gray = image[:1] if image.shape[0] != 3 else image
    size = (mask.shape[1] * factor, mask.shape[0] * factor)
    planes = [Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BICUBIC) for plane in gray]
    plain = np.stack([np.asarray(plane) for plane in planes] * (3 // len(planes)), axis=-1)
    plain = np.clip(plain * 255.0 + 0.5, 0, 255).astype(np.uint8)
    lined = plain.copy()
    for labels, tint in ((wanted, _WHITE), (mask, None)):
        if labels is None:
            continue
        large = np.kron(labels, np.ones((factor, factor), dtype=np.uint8))
        for structure in np.unique(large[large > 0]).tolist():
            lined[outline(large == structure)] = tint or colour(structure)
    gap = np.full((plain.shape[0], 4, 3), 255, dtype=np.uint8)
    return np.concatenate([plain, gap, lined], axis=1)


def _fullest(mask: Mask) -> int:
    return int((mask > 0).sum(axis=(0, 1)).argmax())


def _plane(values: NDArray[Any], at: int | None) -> NDArray[Any]:
    """Return (C, H, W) of what may be a volume, as one looks at it."""
    return values if at is None else values[..., at].transpose(0, 2, 1)[:, ::-1, ::-1]
