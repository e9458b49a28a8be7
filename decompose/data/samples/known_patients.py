"""The patients of images without labels, by the names that the labelled images have for them.

Labelled images may name a patient by a column, as a keyed hash of a DICOM header, by the study or by a folder, and
images without labels in another of these ways. Both are then the same patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.samples.source import Source

Names = tuple[str, ...]
"""All names that the patient of one image may have; empty where nothing names one."""

_UNRELATED = (
    "no patient is one of the labelled images; the patients of one of the two are from DICOM headers, those of the "
    "other are not: check that both have the same ids"
)


def as_labelled(source: Source, names: Sequence[Names], labelled: RegionSamples, keys: Pseudonyms) -> Source:
    """Return images without labels with the groups of the labelled images where these know the patient.

    Args:
        source: N images without labels, with the groups that they state themselves.
        names: Of each image, the names of its patient.
        labelled: The region's labelled images.
        keys: The keyed hashes of `labelled`.

    Returns:
        `source`, with keyed hashes for ids of headers. An image that states no patient is a group of its own, under a
        name that no labelled image has.
    """
    known = set(labelled.groups)
    groups = []
    for own, image, mine in zip(source.groups, source.names or source.ids, names, strict=True):
        spelled = (*mine, *map(keys.pseudonym, mine)) if labelled.identifying else mine
        same = next((name for name in spelled if name in known), None)
        if same is None and own == image:
            same = f"image {image}"
        groups.append(same or (keys.pseudonym(own) if source.identifying else own))
    unrelated = labelled.region.grouped and source.grouped and labelled.identifying != source.identifying
    notices = (*source.notices, _UNRELATED) if unrelated and not known & set(groups) else source.notices
    return replace(source, groups=tuple(groups), notices=notices)
