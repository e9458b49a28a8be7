"""Number of images and outputs of a network that fit into memory.

A classifier's images are small and its outputs few; the maps of a 3D segmenter are several times larger than its
volumes. So loops over a split use this batch size, and reduce each batch to a few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lorkit.decompose.machine import available_bytes, check_memory
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import get_task

BATCH_BYTES = 64 * 2**20
"""Maximum bytes of one batch."""
HELD_BYTES = 192 * 2**20
"""Maximum bytes of the images and outputs of one comparison."""
_FLOAT = 4


def output_shape(region: Region, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of one image's outputs: (outputs,), or (outputs, *spatial) for maps."""
    task = get_task(region.task)
    spatial = tuple(image_shape[1:]) if task.dense else ()
    return task.outputs(region), *spatial


def fitting(region: Region, image_shape: Sequence[int], *, most: int, total: int = BATCH_BYTES) -> int:
    """Return how many images with their outputs fit into `total` bytes: at least one, at most `most`."""
    outputs = sum(math.prod(output_shape(each, image_shape)) for each in region.each)
    one = _FLOAT * (math.prod(image_shape) + outputs)
    return max(1, min(most, total // one))


def check_batches(region: Region, shape: Sequence[int], batches: Sequence[int]) -> None:
    """Raise UsageError if the inputs and outputs of a stated batch do not fit in the memory that is free.

    Args:
        region: The region of the network.
        shape: (C, *spatial) of an input.
        batches: As `--batch` states them.
    """
    outputs = sum(math.prod(output_shape(each, shape)) for each in region.each)
    one = _FLOAT * (2 * math.prod(shape) + outputs)  # inputs are made, and given to the runtime
    check_memory(
        max(batches) * one,
        f"--batch {max(batches)} with inputs of {' x '.join(map(str, shape))}",
        fix=f"choose --batch {max(1, available_bytes() // one // 2)} or less",
    )
