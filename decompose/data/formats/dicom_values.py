"""From stored DICOM pixels to values: modality transform, palette, the file's own window, range and padding.

DICOM PS3.3 C.7.6.16.2.9 (pixel value transformation by frame), C.11.1 (modality LUT), C.11.2 (VOI LUT).

Shapes: F frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.formats.stored import Lookup

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class Transformed:
    """Pixels after the modality transform; fields as in `StoredImage`."""

    values: NDArray[Any]
    colour: bool
    limits: tuple[float, float] | None = None
    lookup: Lookup | None = None
    padding: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()


class Rescale(NamedTuple):
    """A linear modality transform: value = slope * stored + intercept."""

    slope: float
    intercept: float

    def __call__(self, stored: float) -> float:
        """Transform one value."""
        return self.slope * stored + self.intercept


def transform(dataset: Dataset, pixels: NDArray[Any], *, colour: bool) -> Transformed:
    """Bring stored pixels to physical units, or to the colours of their palette.

    Args:
        dataset: Their data set.
        pixels: (H, W), (H, W, 3), or with a first axis of frames.
        colour: The last axis is RGB.

    Raises:
        ValueError: A field that scales is not finite, or a slope is 0.
    """
    if colour:
        return Transformed(values=pixels, colour=True, limits=(0.0, float(2 ** int(dataset.BitsStored) - 1)))
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _palette(dataset, pixels)
    if "ModalityLUTSequence" in dataset:
        return _lookup_table(dataset, pixels)
    if pixels.dtype.kind == "f":
        return _with_window(dataset, Transformed(values=pixels.astype(np.float32), colour=False))
    return _rescaled(dataset, pixels)


def _palette(dataset: Dataset, pixels: NDArray[Any]) -> Transformed:
    from pydicom.pixels.processing import apply_color_lut

    values = apply_color_lut(pixels, dataset)
    top = float(np.iinfo(values.dtype).max)
    return Transformed(values=values, colour=True, limits=(0.0, top), notes=(f"palette of {values.itemsize * 8} bits",))


def _lookup_table(dataset: Dataset, pixels: NDArray[Any]) -> Transformed:
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(pixels, dataset).astype(np.float32)
    bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
    plain = Transformed(values=values, colour=False, limits=(0.0, float(2**bits - 1)), notes=("modality LUT applied",))
    return _with_window(dataset, plain)


def _rescaled(dataset: Dataset, pixels: NDArray[Any]) -> Transformed:
    frames = int(dataset.get("NumberOfFrames") or 1)
    scales = rescales(dataset, frames)
    values = pixels
    if any(scale != (1.0, 0.0) for scale in scales):
        by_frame = pixels.reshape(frames, *pixels.shape[-2:]).astype(np.float64)
        for plane, scale in zip(by_frame, scales, strict=True):
            plane *= scale.slope
            plane += scale.intercept
        values = by_frame.reshape(pixels.shape).astype(np.float32)
    ends = [scale(stored) for scale in scales for stored in _stored_range(dataset)]
    padding = _padding(dataset, scales)
    notes = [_rescale_note(scales)] if any(scale != (1.0, 0.0) for scale in scales) else []
    if padding is not None:
        share = float(((values >= padding[0]) & (values <= padding[1])).mean())
        notes.append(f"padding value {padding[0]:g}: {share:.1%} of pixels")
    if any(0x6000 <= element.tag.group <= 0x60FF for element in dataset):
        notes.append("overlay ignored")
    plain = Transformed(values=values, colour=False, limits=(min(ends), max(ends)), padding=padding, notes=tuple(notes))
    return _with_window(dataset, plain)


def rescales(dataset: Dataset, frames: int) -> list[Rescale]:
    """Return the modality transform of each frame: from its functional groups, else from the data set.

    An empty or absent slope is 1, an empty or absent intercept 0.

    Raises:
        ValueError: One is not finite, or a slope is 0.
    """
    found = []
    for frame in range(frames):
        macro = functional_group(dataset, "PixelValueTransformationSequence", frame) or dataset
        slope, intercept = (_number(macro, name) for name in ("RescaleSlope", "RescaleIntercept"))
        scale = Rescale(1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
        if not np.isfinite(scale).all() or scale.slope == 0.0:
            raise ValueError(f"RescaleSlope {scale.slope:g}, RescaleIntercept {scale.intercept:g}")
        found.append(scale)
    return found


def functional_group(dataset: Dataset, name: str, frame: int) -> Dataset | None:
    """Return the first item of a functional group of a frame: its own, else the shared one, else None."""
    for holder, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        groups = dataset.get(holder)
        if groups and index < len(groups) and groups[index].get(name):
            item: Dataset = groups[index].get(name)[0]
            return item
    return None


def _number(dataset: Dataset, name: str) -> float | None:
    value = dataset.get(name)
    return None if value is None or str(value).strip() == "" else float(value)


def _stored_range(dataset: Dataset) -> tuple[float, float]:
    bits = int(dataset.BitsStored)
    if int(dataset.get("PixelRepresentation") or 0):
        return float(-(2 ** (bits - 1))), float(2 ** (bits - 1) - 1)
    return 0.0, float(2**bits - 1)


def _padding(dataset: Dataset, scales: list[Rescale]) -> tuple[float, float] | None:
    """Return the padded range in rescaled values; none where frames are rescaled differently."""
    first = _number(dataset, "PixelPaddingValue")
    if first is None or len(set(scales)) > 1:
        return None
    last = _number(dataset, "PixelPaddingRangeLimit")
    ends = [float(np.float32(scales[0](stored))) for stored in (first, first if last is None else last)]
    return min(ends), max(ends)


def _rescale_note(scales: list[Rescale]) -> str:
    if len(set(scales)) > 1:
        return "rescale by frame applied"
    return f"rescale {scales[0].slope:g} x + {scales[0].intercept:g} applied".replace("+ -", "- ")


def _with_window(dataset: Dataset, plain: Transformed) -> Transformed:
    """Add the first window or VOI lookup table of the file; of several frames the first frame's."""
    holder = functional_group(dataset, "FrameVOILUTSequence", 0) or dataset
    lookup: Lookup
    if holder.get("VOILUTSequence"):
        table = holder.VOILUTSequence[0]
        bits = int(table.LUTDescriptor[2])
        lookup, note = partial(_voi_table, holder, float(2**bits - 1)), "VOI LUT of the file"
    elif holder.get("WindowCenter") not in (None, "") and holder.get("WindowWidth") not in (None, ""):
        centre, width = (_first(holder.get(name)) for name in ("WindowCenter", "WindowWidth"))
        function = str(holder.get("VOILUTFunction") or "LINEAR").upper()
        if not np.isfinite([centre, width]).all() or width < (1.0 if function == "LINEAR" else 1e-12):
            raise ValueError(f"WindowCenter {centre:g}, WindowWidth {width:g}")
        lookup = partial(_window, centre, width, function)
        note = f"window of the file: centre {centre:g}, width {width:g}"
    else:
        return plain
    lookup(plain.values.reshape(-1)[:1])  # raises for a damaged table
    return Transformed(
        values=plain.values, colour=plain.colour, limits=plain.limits, lookup=lookup, padding=plain.padding,
        notes=(*plain.notes, note),
    )  # fmt: skip


def _first(value: Any) -> float:
    return float(value if isinstance(value, (str, float, int)) or not hasattr(value, "__getitem__") else value[0])


def _window(centre: float, width: float, function: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Map values to [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    offset = values.astype(np.float64) - centre
    if function == "SIGMOID":
        sigmoid: NDArray[np.float64] = 0.5 + 0.5 * np.tanh(2.0 * offset / width)
        return sigmoid
    if function == "LINEAR_EXACT":
        return np.clip(offset / width + 0.5, 0.0, 1.0)
    if width == 1.0:  # a threshold
        return (offset > -0.5).astype(np.float64)
    return np.clip((offset + 0.5) / (width - 1.0) + 0.5, 0.0, 1.0)


def _voi_table(holder: Dataset, top: float, values: NDArray[Any]) -> NDArray[np.float64]:
    from pydicom.pixels.processing import apply_voi

    found: NDArray[np.float64] = apply_voi(np.rint(values).astype(np.int64), holder).astype(np.float64) / top
    return found
