"""Configurations for the sources that were found: regions that one network can have, its input and its backbones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lorkit.decompose.config import SplitConfig
from lorkit.decompose.config.recommendation import Amount, Recommendation, recommend
from lorkit.decompose.data.readers.discovery import FoundSource
from lorkit.decompose.data.readers.region_drafts import RegionDraft, draft_region
from lorkit.decompose.data.splits import find_contradictions, split_regions
from lorkit.decompose.errors import LorkitError

KINDS = {(2, False): "images", (2, True): "masks", (3, False): "volumes", (3, True): "volume-masks"}
_STEP = {2: 32, 3: 16}  # U-Nets need multiples
_MOST_SIDE = {2: 224, 3: 128}
_MOST_VOXELS = 64**3
_IMAGES_PER_BATCH, _PIXELS = 128, 64 * 64  # the default batch, for images of 64 x 64
_LEAST_BATCH = {2: 16, 3: 4}
_BACKBONES = {(2, False): ("resnet34", "resnet18"), (3, False): ("resnet18_3d", "resnet18_3d")}
_TAUGHT_BY_NOTHING = ("stl", "mtl")


@dataclass(frozen=True, kw_only=True)
class ConfigurationDraft:
    """Regions that share a network, and the settings that they need.

    Attributes:
        kind: One of `KINDS`.
        regions: The regions.
        size: Of the network's input: one side of square pictures, else all sides.
        shape: Median sides of the largest images, for comparison.
        channels: 1 or 3.
        foundation: Backbone of the foundation.
        student: Backbone of the student.
        batch_size: Images in a batch.
        advice: Method and steps for this amount of data.
    """

    kind: str
    regions: tuple[RegionDraft, ...]
    size: tuple[int, ...]
    shape: tuple[int, ...]
    channels: int
    foundation: str
    student: str
    batch_size: int
    advice: Recommendation

    @property
    def teaches(self) -> bool:
        """Whether the method has a teacher, whose terms use images without labels."""
        return self.advice.method not in _TAUGHT_BY_NOTHING


def draft_configurations(
    found: Sequence[FoundSource],
) -> tuple[list[ConfigurationDraft], dict[str, str]]:
    """Return one configuration for each kind of regions, the kind with most regions first, and problems by source.

    Pictures and volumes need networks of their own, and so do labels and masks.

    Args:
        found: Sources of images; those with a problem are left out.
    """
    regions: list[RegionDraft] = []
    problems: dict[str, str] = {}
    for entry in found:
        if entry.problem or entry.graph is not None:
            continue
        try:
            regions.append(draft_region(entry))
        except LorkitError as error:
            problems[entry.name] = f"{error.given}; {error.fix}" if error.fix else error.given
    kinds: dict[tuple[int, bool], list[RegionDraft]] = {}
    for region in regions:
        kinds.setdefault((region.dims, region.size.masks), []).append(region)
    order = sorted(kinds, key=lambda kind: -len(kinds[kind]))
    return [_draft(kind, _without_contradictions(kinds[kind])) for kind in order], problems


def _draft(kind: tuple[int, bool], regions: Sequence[RegionDraft]) -> ConfigurationDraft:
    dims, masks = kind
    shape = tuple(round(max(region.shape[axis] for region in regions)) for axis in range(dims))
    size = input_size(shape)
    foundation, student = ("unet", "unet") if masks else _BACKBONES[dims, masks]
    batch = batch_size(size)
    amount = Amount(regions={region.name: region.size for region in regions})
    return ConfigurationDraft(
        kind=KINDS[kind],
        regions=tuple(regions),
        size=size,
        shape=shape,
        channels=3 if any(region.colour for region in regions) else 1,
        foundation=foundation,
        student=student,
        batch_size=batch,
        advice=recommend(amount, batch_size=batch),
    )


def input_size(shape: Sequence[float]) -> tuple[int, ...]:
    """Return the sides of a network's input for images of these sides, as multiples that U-Nets need.

    Pictures have at most 224 pixels a side, and volumes at most 64^3 voxels: larger ones need more memory and time
    than a first run should. Nearly square pictures become square.

    Args:
        shape: Two sides of pictures, or three of volumes.
    """
    dims = len(shape)
    step, most = _STEP[dims], _MOST_SIDE[dims]
    if dims == 2 and max(shape) <= 1.34 * min(shape):
        shape = (max(shape), max(shape))
    scale = min(1.0, most / max(shape))
    if dims == 3:
        scale = min(scale, (_MOST_VOXELS / math.prod(shape)) ** (1 / 3))
    sides = [max(step, round(side * scale / step) * step) for side in shape]
    if max(sides) < 32:
        sides[sides.index(max(sides))] = 32
    return tuple(min(side, most) for side in sides)


def batch_size(size: Sequence[int]) -> int:
    """Return a power of two: as many images of this size as need the memory of 128 images of 64 x 64."""
    fitting = _IMAGES_PER_BATCH * _PIXELS / math.prod(size)
    return min(_IMAGES_PER_BATCH, max(_LEAST_BATCH[len(size)], 1 << int(math.log2(max(fitting, 1)))))


def _without_contradictions(regions: Sequence[RegionDraft]) -> list[RegionDraft]:
    """Return regions that can be split together: the same image in two regions must not be in two stated parts."""
    samples = {region.name: region.samples for region in regions if region.samples is not None}
    if len(samples) < len(regions) or len(regions) == 1:
        return list(regions)
    if find_contradictions(samples):
        told = "its stated parts are other ones than those of another region with the same images: parts: anew"
        return [
            replace(region, settings={**region.settings, "parts": "anew"}, notes=(*region.notes, told))
            if region.samples is not None and region.samples.parts[0] is not None
            else region
            for region in regions
        ]
    split_regions(samples, SplitConfig(), seed=0)
    return list(regions)
