"""How wide reprogrammers are: a wide one on few images learns these images and not the features."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lorkit.decompose.config import RdConfig

_LEAST = 32
_PER_ROOT = 8.0


def width_of(images: int) -> int:
    """Return the default width of the reprogrammers of a region: 8 times the root of its images, a multiple of 16."""
    return max(_LEAST, round(_PER_ROOT * math.sqrt(images) / 16) * 16)


def with_widths(settings: RdConfig, images: Mapping[str, int]) -> RdConfig:
    """Return the settings with a width for every region; a region that the user named keeps its own.

    Args:
        settings: The section `rd`.
        images: Training images of each region, with those without labels.
    """
    if isinstance(settings.hidden, int):
        return settings
    widths = {name: width_of(count) for name, count in images.items()} | dict(settings.hidden or {})
    return settings.model_copy(update={"hidden": widths})


def hidden_of(settings: RdConfig, region: str, narrow: int) -> int:
    """Return the width of a region's reprogrammers, by default at most that of the student's features."""
    stated = settings.hidden
    if isinstance(stated, int):
        return stated
    return min(narrow, (stated or {}).get(region, narrow))
