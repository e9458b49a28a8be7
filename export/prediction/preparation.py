"""Image files as the inputs of a network: read, prepared by its recipe, and checked for its region."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.data.formats.registry import open_image
from lorkit.decompose.data.formats.stored import StoredImage
from lorkit.decompose.data.preprocessing import region_check
from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.errors import DataError
from lorkit.export.prediction.inputs import network_spacing, values_of
from lorkit.export.prediction.network import LoadedNetwork

if TYPE_CHECKING:
    from lorkit.export.prediction.volumes import VolumeCase


class RegionCheckResult(NamedTuple):
    """Result of the region check of an image; all None if the network has no check."""

    out_of_region: bool | None = None
    distance: float | None = None
    limit: float | None = None


class PreparedImage(NamedTuple):
    """An image file as the input `values` (C, *spatial) of a network, with the spatial size of the image as read.

    `voxel_ml` is the volume of a voxel, None where it is not stated; `warnings` what the reader warns of; `stored` the
    file's own values where they were kept; `case` the plan of a volume that is taken window by window, whose `values`
    are the whole volume.
    """

    path: Path
    values: Float32Array
    size: tuple[int, ...]
    check: RegionCheckResult
    voxel_ml: float | None
    warnings: tuple[str, ...]
    stored: StoredImage | None = None
    case: VolumeCase | None = None


def prepare_images(network: LoadedNetwork, paths: Sequence[Path], *, keep: bool = False) -> list[PreparedImage]:
    """Read and prepare image files as `prepare_image` does each, and check their regions together, which is faster."""
    return checked(network, [prepare_image(network, path, keep=keep, check_region=False) for path in paths])


def prepare_image(
    network: LoadedNetwork, path: Path, *, keep: bool = False, check_region: bool = True
) -> PreparedImage:
    """Read and prepare an image file, and check whether it looks like the region of the network.

    Args:
        network: The network.
        path: The file, or the folder of a series.
        keep: Keep the file's own values beside those that the network takes.
        check_region: Whether to check the region; `checked` does it for many images at once.

    Raises:
        DataError: It cannot be read or prepared; the message names the file.
    """
    try:
        case = None if network.volumes is None else network.volumes.begin(network.run, path, keep=keep)
        begin = time.perf_counter()
        stored = open_image(path)
        image = values_of(stored, network.recipe, path)
        seconds = time.perf_counter() - begin
        if network.volumes is not None:
            from lorkit.export.prediction.volumes import StatedVolume  # pictures do without

            spacing = network_spacing(stored)
            size = stored.values.dtype.itemsize
            stated = StatedVolume(image.shape, spacing, size, size)
            case = case or network.volumes.plan(network.run, stated, keep=keep)
            case.stages.seconds["read"] = seconds
    except DataError as error:
        raise named(error, path) from None
    kept, given = stored if keep else None, (stored.voxel_ml, stored.warnings, network_spacing(stored))
    del stored  # a scaled volume has 8 bytes per voxel
    prepared = prepare_values(
        network, image, path, voxel_ml=given[0], warnings=given[1], spacing_mm=given[2], case=case
    )
    prepared = checked(network, [prepared])[0] if check_region else prepared
    return prepared._replace(stored=kept)


def prepare_values(
    network: LoadedNetwork,
    image: NDArray[Any],
    path: Path,
    *,
    voxel_ml: float | None = None,
    warnings: tuple[str, ...] = (),
    spacing_mm: tuple[float, ...] | None = None,
    case: VolumeCase | None = None,
    known: Float32Array | None = None,
) -> PreparedImage:
    """Prepare the values of one image; `checked` says whether it looks like the region of the network.

    Args:
        network: The network.
        image: (H, W), (H, W, 3) or (D, H, W), as `apply_recipe` takes it.
        path: Its file, or a name for it.
        voxel_ml: Volume of a voxel in millilitres, if it is known.
        warnings: What the reader warns of.
        spacing_mm: Distance of neighbours along the axes of a volume, if it is known.
        case: The plan of a volume that is taken window by window; made here where it is missing.
        known: The prepared values, where a network with the same preprocessing has them already.

    Raises:
        DataError: It cannot be prepared; the message has its name.
    """
    try:
        if network.volumes is not None and case is None:
            from lorkit.export.prediction.volumes import StatedVolume

            case = network.volumes.plan(
                network.run, StatedVolume(image.shape, spacing_mm, image.itemsize, image.itemsize)
            )
        with case.stages.stage("resample") if case is not None else nullcontext():
            values = apply_recipe(network.recipe, image, spacing_mm) if known is None else known
    except DataError as error:
        raise named(error, path) from None
    size = image.shape[: values.ndim - 1]
    return PreparedImage(path, values, size, RegionCheckResult(), voxel_ml, warnings, case=case)


def checked(network: LoadedNetwork, images: Sequence[PreparedImage]) -> list[PreparedImage]:
    """Check whether prepared images look like the region of the network, where it has such a check."""
    if network.info.kind == "mixture" or network.info.in_region is None:
        return list(images)
    views = np.stack([one.values if one.case is None else region_check.overview(one.values) for one in images])
    found = region_check.check_all(network.info.in_region, views)
    return [
        image._replace(check=RegionCheckResult(out_of_region=not inside, distance=distance, limit=limit))
        for image, (distance, limit, inside) in zip(images, found, strict=True)
    ]


def named(error: DataError, path: Path) -> DataError:
    """Return the error with the file in its message."""
    if str(path) in str(error):
        return error
    return DataError(f"{path}: {error.given}", required=error.required, fix=error.fix)
