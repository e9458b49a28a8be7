"""Preprocessing as data: a versioned recipe of named steps from any 2D image or volume to the network's input.

A recipe is stored with an expert (`expert.json`), so images are prepared alike in training, export and prediction, with
numpy and Pillow and without torch. The last step, `normalise`, is not applied here: it is part of the network's graph,
whose inputs are in [0, 1].

Volumes of a recipe with a spacing are resampled, and keep their own size; the network takes windows of them.

Shapes: H W image, D H W volume, C channels; images are (H, W), (H, W, 3) or (D, H, W), results (C, *size).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config.graphs import NodeInput
from lorkit.decompose.data.formats.checks import check_image, unit_range
from lorkit.decompose.documents.recipe import AXES, FILTERS, NODES, VERSIONS, WINDOWED, Intensity, Recipe
from lorkit.decompose.errors import DataError

if TYPE_CHECKING:
    from lorkit.decompose.config import ImageConfig, RegionConfig

_PERCENTILES = (0.5, 99.5)
_OVERLAP, _SIGMA = 0.25, 0.125  # as nnU-Net and MONAI have them, but for nnU-Net's overlap of a half
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as in Pillow's convert("L")


def build_recipe(image: ImageConfig, region: RegionConfig) -> Recipe:
    """Return the recipe of a region's images.

    A stated window overrides the intensity rule, because only the user knows the physical units. Nodes of graphs have
    their own recipe, of the input that training resolved.
    """
    if region.nodes is not None:
        return _node_recipe(region.nodes, image)
    sides = len(image.size)
    if region.spacing is None:
        version = VERSIONS[sides]
        sizes = [{"op": "resize", "size": list(image.size), "filter": FILTERS[sides], "antialias": True}]
    else:
        version = WINDOWED
        overlap = _OVERLAP if region.window_overlap is None else region.window_overlap
        window = {"op": "window", "size": list(image.size), "overlap": overlap, "blend": "gaussian", "sigma": _SIGMA}
        resample = {"op": "resample", "spacing": list(region.spacing), "filter": "trilinear", "antialias": True}
        sizes = [resample, window]
    steps = [
        intensity_step(region),
        *sizes,
        {"op": "channels", "count": image.channels},
        {"op": "normalise", "mean": list(image.mean), "std": list(image.std)},
    ]
    axes = {"axes": AXES} if sides == 3 else {}
    return Recipe.model_validate({"version": version, **axes, "steps": steps})


def _node_recipe(nodes: NodeInput, image: ImageConfig) -> Recipe:
    normalise = {"op": "normalise", "mean": list(image.mean), "std": list(image.std)}
    return Recipe.model_validate({"version": NODES, "steps": [{"op": "nodes", **nodes.model_dump()}, normalise]})


def intensity_step(region: RegionConfig) -> Intensity:
    """Return how a region's pixel values become [0, 1]."""
    if region.window is not None:
        return Intensity(op="intensity", rule="window", low=region.window[0], high=region.window[1])
    if region.intensity == "percentile":
        return Intensity(op="intensity", rule="percentile", low=_PERCENTILES[0], high=_PERCENTILES[1])
    return Intensity(op="intensity", rule="dtype")


def apply_recipe(recipe: Recipe, image: NDArray[Any], spacing_mm: Sequence[float] | None = None) -> Float32Array:
    """Prepare one image.

    Args:
        recipe: The recipe.
        image: (H, W), (H, W, 3) or, for recipes of volumes, (D, H, W); uint8, uint16 or floating in the region's units.
        spacing_mm: Distance of neighbours along each axis of a volume, in mm; only recipes with a spacing need it.

    Returns:
        (C, *size) float32 in [0, 1], resized without keeping the aspect ratio; at the recipe's spacing, if it has one,
        the whole volume (C, *resampled_size).

    Raises:
        DataError: The image has another shape or dtype, has NaN or infinity, is floating outside [0, 1] and the
            recipe states no units, or its spacing is needed and not stated.
    """
    check_image(image, recipe.dims)
    target = prepared_size(recipe, image.shape[: recipe.dims], spacing_mm)
    resized = resize_image(to_unit(recipe.intensity, image), target)
    return to_channels(resized, recipe.channels, recipe.dims)


def prepared_size(recipe: Recipe, size: Sequence[int], spacing_mm: Sequence[float] | None) -> tuple[int, ...]:
    """Return the size of a prepared image: the recipe's or, at the recipe's spacing, that of the whole volume.

    Args:
        recipe: The recipe.
        size: Sides of the image.
        spacing_mm: Distance of neighbours along each of them, in mm.

    Raises:
        DataError: The recipe needs the spacing, and it is not stated.
    """
    if recipe.spacing is None:
        return recipe.size
    if spacing_mm is None:
        raise DataError(
            "a volume without a stated size of its voxels",
            required=f"one, because the network takes volumes at {_millimetres(recipe.spacing)}",
            fix="give a file that states it, such as NIfTI with sform or qform, or a DICOM series",
        )
    return resampled_size(size, spacing_mm, recipe.spacing)


def resampled_size(size: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the sides of a volume at another spacing: the nearest whole numbers that keep its extent, at least 1.

    The extent is kept, so that the way back needs the sides only; the spacing that results differs from the target by
    less than half a voxel over the whole side.
    """
    given = zip(size, spacing_mm, target_mm, strict=True)
    return tuple(max(1, round(side * float(own) / float(wanted))) for side, own, wanted in given)


def _millimetres(spacing: Sequence[float]) -> str:
    return " x ".join(f"{one:g}" for one in spacing) + " mm"


def resize_mask(mask: NDArray[Any], target: tuple[int, ...]) -> NDArray[Any]:
    """Resize a mask, (H, W) or (D, H, W), to the nearest values: the later one where a place is between two pixels."""
    axes = [(2 * np.arange(new) + 1) * old // (2 * new) for old, new in zip(mask.shape, target, strict=True)]
    return np.ascontiguousarray(mask[np.ix_(*axes)])


def to_unit(step: Intensity, image: NDArray[Any]) -> Float32Array:
    """Map pixel values to [0, 1] float32 by an `intensity` step."""
    if step.rule == "dtype" and image.dtype.kind == "u":  # in one pass: all of them are between the bounds
        unit: Float32Array = np.divide(image, np.float32(unit_range(image)[1]), dtype=np.float32)
        return unit
    values = image.astype(np.float32)
    low, high = _limits(step, image, values)
    if high <= low:  # a constant image under the percentile rule: nothing to stretch
        return np.zeros_like(values)
    values -= np.float32(low)  # in place: a volume of a whole head has a hundred MiB
    values /= np.float32(high - low)
    return np.clip(values, 0.0, 1.0, out=values)


def resize_image(image: Float32Array, target: Sequence[int]) -> Float32Array:
    """Resize a float32 image with Pillow's antialiased bilinear filter.

    Volumes are resized in the plane of their last two axes, then along the first; the filter is separable.

    Args:
        image: (H, W) or (H, W, 3); (D, H, W) if `target` has three sides.
        target: Sides.
    """
    if len(target) == 3:
        return _resize_volume(image, [int(side) for side in target])
    height, width = int(target[0]), int(target[1])
    if image.shape[:2] == (height, width):
        return image
    planes = [image] if image.ndim == 2 else [image[..., plane] for plane in range(image.shape[2])]
    resized = [
        np.array(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.BILINEAR))
        for plane in planes
    ]
    return resized[0] if image.ndim == 2 else np.stack(resized, axis=-1)


def _resize_volume(volume_DHW: Float32Array, target: Sequence[int]) -> Float32Array:
    """Resize plane by plane, then row by row along the first axis, with no other copy of the volume."""
    planes_DHW = volume_DHW
    if volume_DHW.shape[1:] != tuple(target[1:]):
        planes_DHW = np.empty((len(volume_DHW), *target[1:]), dtype=np.float32)
        for resized, plane in zip(planes_DHW, volume_DHW, strict=True):
            resized[:] = resize_image(plane, target[1:])
    if len(volume_DHW) == target[0]:
        return planes_DHW
    result = np.empty(tuple(target), dtype=np.float32)
    for row in range(target[1]):
        result[:, row] = resize_image(planes_DHW[:, row], (target[0], target[2]))
    return result


def to_channels(image: Float32Array, count: int, sides: int = 2) -> Float32Array:
    """Convert an image to (count, *spatial): gray is repeated, colour is converted to luma if count is 1.

    Args:
        image: (H, W) or (H, W, 3); (D, H, W) if `sides` is 3.
        count: Channels.
        sides: Number of spatial axes.
    """
    if image.ndim == sides:
        return image[None] if count == 1 else np.repeat(image[None], count, axis=0)
    if count == 1:
        luma: Float32Array = np.clip(image @ _LUMA, 0.0, 1.0)
        return luma[None]
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def range_notice(recipe: Recipe, largest: float) -> str | None:
    """Return a notice if 16-bit images use so little of their range that they become almost black.

    Twelve-bit detectors that write 16-bit files do: their brightest pixel is below 4096 of 65535.
    """
    if recipe.intensity.rule != "dtype" or largest >= 65536 / 8:
        return None
    return f"16-bit images reach only {largest:.0f} of 65535: set window: [0, {largest:.0f}] or intensity: percentile"


def _limits(step: Intensity, image: NDArray[Any], values: Float32Array) -> tuple[float, float]:
    if step.rule == "window":
        return step.bounds
    if step.rule == "percentile":
        low, high = np.percentile(values, step.bounds)
        return float(low), float(high)
    return unit_range(image)
