"""Images without labels beside the parts of a split: none of them may be of a validation or test patient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.data.samples.class_names import about_patients
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.splits import Splits
from lorkit.decompose.documents.data import UnlabelledFacts
from lorkit.decompose.errors import DataError, plural

_HELD_OUT = ("val", "test")


def check_unlabelled(
    samples: Mapping[str, RegionSamples], splits: Splits, unlabelled: Mapping[str, RegionSamples]
) -> list[str]:
    """Return notices on images without labels.

    Raises:
        DataError: One of them is in the validation or test part of a region, or of a patient of that part; the message
            names it.
    """
    held = {
        samples[name].digests[index]: (name, part, index)
        for name in samples
        for part in _HELD_OUT
        for index in splits.parts(name)[part].tolist()
    }
    notices = []
    for name, one in unlabelled.items():
        for index, digest in enumerate(one.digests):
            if digest in held:
                region, part, other = held[digest]
                raise _held_out(name, one, index, f"the image is '{samples[region].ids[other]}'", part, region)
        _check_patients(name, samples[name], splits, one)
        notices += _about(name, samples[name], one)
    return notices


def counts_of(unlabelled: Mapping[str, RegionSamples]) -> dict[str, UnlabelledFacts]:
    """Return how many images without labels each region has; regions without any are left out."""
    return {
        name: UnlabelledFacts(n=len(one), groups=len(set(one.groups)), digest=one.digest)
        for name, one in unlabelled.items()
    }


def record_of(unlabelled: Mapping[str, RegionSamples], key: DirectoryKey) -> dict[str, Any]:
    """Return the counts as plain data of a manifest, their digests keyed."""
    return {
        name: one.with_changes(digest=key.digest("samples", one.digest.encode())).to_json()
        for name, one in counts_of(unlabelled).items()
    }


def _check_patients(name: str, labelled: RegionSamples, splits: Splits, one: RegionSamples) -> None:
    # an image without a known patient is a group whose name no labelled image has
    held = {labelled.groups[index]: part for part in _HELD_OUT for index in splits.parts(name)[part].tolist()}
    for index, group in enumerate(one.groups):
        if group in held:
            raise _held_out(name, one, index, f"patient '{group}' is", held[group], name)


def _held_out(name: str, one: RegionSamples, index: int, what: str, part: str, region: str) -> DataError:
    return DataError(
        f"unlabelled sample '{one.ids[index]}' of region '{name}': {what} in the {part} part of region '{region}'",
        required="no image and no patient of a validation or test part",
        fix="leave it out, or state the parts so that this patient is in train",
    )


def _about(name: str, labelled: RegionSamples, one: RegionSamples) -> list[str]:
    notices = [f"region '{name}', unlabelled: {text}" for text in one.notices]
    known = len(set(labelled.digests) & set(one.digests))
    if known:
        notices.append(f"region '{name}': {plural(known, 'unlabelled image')} also among the labelled ones")
    repeated = len(one) - len(set(one.digests))
    if repeated:
        notices.append(f"region '{name}': {plural(repeated, 'unlabelled image')} given more than once")
    if labelled.region.grouped and one.region.grouped:
        if not labelled.identifying and not about_patients(labelled.groups):
            alike = about_patients((*labelled.groups, *dict.fromkeys(one.groups)))
            notices += [f"region '{name}', labelled and unlabelled: {text}" for text in alike]
    else:
        which = "the labelled images" if not labelled.region.grouped else "the unlabelled images"
        notices.append(
            f"region '{name}': the patients of {which} are unknown for some or all, and of these only equal images "
            "were looked for in the validation and test parts"
        )
    return notices
