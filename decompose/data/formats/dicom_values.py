"""From stored DICOM pixels to values: modality transform, palette, the file's own window, range and padding.

DICOM PS3.3 C.7.6.16.2.9 (pixel value transformation by frame), C.11.1 (modality LUT), C.11.2 (VOI LUT).

Shapes: F frames, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    warnings: tuple[str, ...] = ()


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
    table = dataset.ModalityLUTSequence[0]
    values = _mapped(table, pixels).astype(np.float32)
    limits = (0.0, float(2 ** _bits(table) - 1))
    return _with_window(
        dataset, Transformed(values=values, colour=False, limits=limits, notes=("modality LUT applied",))
    )


def _mapped(table: Dataset, values: NDArray[Any]) -> NDArray[Any]:
    """Apply a lookup table of any depth; pydicom's own function takes 8 and 16 bits only.

    Raises:
        ValueError: The table is not what its descriptor states.
    """
    descriptor, data = table.get("LUTDescriptor"), table.get("LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        raise ValueError("a lookup table without LUTDescriptor or LUTData")
    entries, first = int(descriptor[0]) or 65536, int(descriptor[1])
    if first > 32767 and values.min() < 0:
        first -= 65536  # a signed value that is stored as an unsigned one
    if isinstance(data, bytes):
        data = np.frombuffer(data, dtype=np.uint8 if len(data) < 2 * entries else _words(table))
    found = np.asarray(data)[:entries]
    if len(found) != entries or (found >= 2 ** _bits(table)).any():
        raise ValueError(f"a lookup table of {len(found)} entries, stated as {list(descriptor)}")
    return found[np.clip(values.astype(np.int64) - first, 0, entries - 1)]


def _words(table: Dataset) -> str:
    return ">u2" if table.original_encoding[1] is False else "<u2"


def _bits(table: Dataset) -> int:
    bits = int(table.LUTDescriptor[2])
    if not 1 <= bits <= 16:
        raise ValueError(f"LUTDescriptor {list(table.LUTDescriptor)}")
    return bits


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
    elif _number(dataset, "PixelPaddingValue") is not None:
        notes.append("padding value ignored: frames are rescaled differently")
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
    if value is None or str(value).strip() == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} {value}") from None


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
    low, high = _stored_range(dataset)
    wrap = 2.0 ** int(dataset.BitsAllocated)  # a signed value that is stored as an unsigned one
    stated = [value - wrap if low < 0 and value > high else value for value in (first, first if last is None else last)]
    ends = [float(np.float32(scales[0](stored))) for stored in stated]
    return min(ends), max(ends)


def _rescale_note(scales: list[Rescale]) -> str:
    if len(set(scales)) > 1:
        return "rescale by frame applied"
    return f"rescale {scales[0].slope:g} x + {scales[0].intercept:g} applied".replace("+ -", "- ")


def _with_window(dataset: Dataset, plain: Transformed) -> Transformed:
    """Add the first window or VOI lookup table of the file; of several frames the first frame's."""
    lookup, note = _window_of(_voi(dataset, 0), plain.values)
    others = [_voi(dataset, frame) for frame in range(1, int(dataset.get("NumberOfFrames") or 1))]
    differ = any(_window_of(one, plain.values)[1] != note for one in others)
    if lookup is None and plain.limits is not None:
        note = f"no window of the file: stored range {plain.limits[0]:g} to {plain.limits[1]:g}"
    warnings = ("frames state different windows: that of the first is used",) if differ else ()
    return replace(plain, lookup=lookup, notes=(*plain.notes, *([note] if note else [])), warnings=warnings)


def _voi(dataset: Dataset, frame: int) -> Dataset:
    return functional_group(dataset, "FrameVOILUTSequence", frame) or dataset


def _window_of(holder: Dataset, values: NDArray[Any]) -> tuple[Lookup | None, str]:
    """Return the window or VOI lookup table of a data set, and what it is; one that is not usable fails when used.

    A region that states its own window does without it.
    """
    try:
        if holder.get("VOILUTSequence"):
            table = holder.VOILUTSequence[0]
            _mapped(table, values.reshape(-1)[:1])  # raises for a damaged table
            return partial(_voi_table, table), "VOI LUT of the file"
        centre, width = _first(holder, "WindowCenter"), _first(holder, "WindowWidth")
        if centre is None or width is None:
            return None, ""
        function = str(holder.get("VOILUTFunction") or "LINEAR").upper()
        least = {"LINEAR": 1.0, "LINEAR_EXACT": 1e-12, "SIGMOID": 1e-12}.get(function, np.inf)
        if not np.isfinite([centre, width]).all() or width < least:
            raise ValueError(f"WindowCenter {centre:g}, WindowWidth {width:g}, {function}")
    except (TypeError, ValueError, OverflowError) as error:
        return partial(_refused, str(error)), f"window of the file is not usable: {error}"
    return partial(_window, centre, width, function), f"window of the file: centre {centre:g}, width {width:g}"


def _refused(reason: str, values: NDArray[Any]) -> NDArray[np.float64]:
    raise ValueError(f"window of the file is not usable: {reason}")


def _first(holder: Dataset, name: str) -> float | None:
    """Return the first of several values."""
    value = holder.get(name)
    several = not isinstance(value, (str, float, int)) and hasattr(value, "__getitem__")
    one = (value[0] if len(value) else None) if several else value
    return None if one is None or str(one).strip() == "" else float(one)


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


def _voi_table(table: Dataset, values: NDArray[Any]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = _mapped(table, np.rint(values)).astype(np.float64) / float(2 ** _bits(table) - 1)
    return found
