"""The samples of one region as all readers return them: images, labels or masks, ids, groups and parts.

Shapes: N samples, S structures; an image is (H, W), (H, W, 3) or a volume (D, H, W) of uint8, uint16 or float32.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import RegionAugment, RegionConfig
from lorkit.decompose.data.samples.annotations import labels_in_order, read_masks, with_overlap
from lorkit.decompose.data.samples.class_names import about_names, about_patients, without_flips
from lorkit.decompose.data.samples.digests import digested
from lorkit.decompose.data.samples.label_table import MULTILABEL, POSITIVE, UNCERTAIN, describe_row, exclusive_notice
from lorkit.decompose.data.samples.originals import check_spacing, tolerances_of
from lorkit.decompose.data.samples.patients import BY_IMAGE, group_by_pattern, proposal_notice, propose
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.data.samples.source import Source
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import Region
from lorkit.decompose.tasks import TASKS, get_task

PARTS = ("train", "val", "test")
SEGMENTATION, STRUCTURES = "segmentation", "structures"
KNOWN_TASKS = tuple(TASKS)
_PART_NAMES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}
_PART_OF = re.compile(r"[\s_-]*(set|data|images)?$")  # of `training_set`


@dataclass(frozen=True, kw_only=True, eq=False)
class RegionSamples(Source):
    """Checked samples of one region; labels index `region.classes`.

    Attributes:
        digests: SHA-256 of each image's dtype, shape and pixels: equal images have equal digests.
        gray: (N,) whether an image has no colours.
        dims: 2 for 2D images, 3 for volumes.
        mask_digests: SHA-256 of each mask; empty without masks.
        present: (N, S) whether a structure is in a mask; None without masks.
        nsd_tolerances: Tolerance of the surface of each structure; empty without masks.
        store: Directory of resampled volumes, beside the runs; None for a temporary one.
    """

    region: Region
    digests: tuple[str, ...]
    gray: NDArray[np.bool_]
    dims: int = 2
    mask_digests: tuple[str, ...] = ()
    present: NDArray[np.bool_] | None = None
    nsd_tolerances: tuple[float, ...] = ()
    store: Path | None = None
    augment: RegionAugment | Literal[False] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """Digest of all that training uses of the region: pixels, labels, classes, groups and stated parts.

        Of groups it holds which samples share one, not their names, which depend on the key of patients.
        """
        targets = self.mask_digests or [str(label) for label in self.labels.tolist()]
        number = {group: str(index) for index, group in enumerate(dict.fromkeys(self.groups))}
        groups = [number[group] for group in self.groups]
        rows = zip(self.digests, targets, groups, self.parts, strict=True)
        lines = "\n".join("\t".join((digest, target, group, part or "")) for digest, target, group, part in rows)
        return hashlib.sha256(("\n".join(self.region.classes) + "\n\n" + lines).encode()).hexdigest()

    @property
    def strata(self) -> tuple[str, ...]:
        """The classes between which a split is stratified; one for samples with masks, one more with many labels."""
        if self.task == MULTILABEL:
            return ("sample", *self.region.classes)
        return self.region.classes if self.masks is None else ("sample",)

    def strata_counts(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of some samples there are of each stratum."""
        labels = self.labels[indices]
        if self.task == MULTILABEL:
            return np.concatenate([[len(labels)], (labels == POSITIVE).sum(0)]).astype(np.int64)
        return np.bincount(labels, minlength=len(self.strata)).astype(np.int64)

    def counts(self, indices: NDArray[np.int64] | None = None) -> list[int]:
        """Return the number of samples of each class, with each structure, or with each label."""
        chosen = slice(None) if indices is None else indices
        if self.present is not None:
            return [int(count) for count in self.present[chosen].sum(0)]
        if self.task == MULTILABEL:
            return [int(count) for count in (self.labels[chosen] == POSITIVE).sum(0)]
        counts = np.bincount(self.labels[chosen], minlength=len(self.region.classes))
        return [int(count) for count in counts]

    def uncertain_counts(self) -> list[int]:
        """Return the number of samples for which each label is unknown; empty for other tasks."""
        if self.task != MULTILABEL:
            return []
        return [int(count) for count in (self.labels == UNCERTAIN).sum(0)]

    def target(self, index: int) -> str:
        """Return the name of a sample's class, its labels, or the digest of its mask."""
        if self.task == MULTILABEL:
            return describe_row(self.region.classes, self.labels[index].tolist())
        return self.mask_digests[index] if self.mask_digests else self.region.classes[self.labels[index]]

    def describe(self, index: int) -> str:
        """Return the name of a sample for messages."""
        return f"sample '{self.ids[index]}' of region '{self.region.name}'"


def check_samples(
    name: str,
    config: RegionConfig,
    source: Source,
    *,
    complete: bool = True,
    dims: int = 2,
    pseudonyms: Pseudonyms | None = None,
) -> RegionSamples:
    """Check the result of a reader and map its labels to the configured class order.

    Args:
        name: Region name.
        config: The region's settings; its `classes` state the output order.
        source: The result of the reader.
        complete: Require a sample of every class; False for a file that is only evaluated.
        dims: Entries of `image.size`: 2 reads 2D images, 3 volumes.
        pseudonyms: Keyed hashes of patient ids; by default those of `runs/`.

    Raises:
        UsageError: The stated task is not supported, or the source has no targets for it.
        DataError: No samples, unequal lengths, labels out of range, or a class without samples.
    """
    source = with_overlap(name, config, source)
    _check_task(name, config, source)
    _check_lengths(name, source)
    if config.parts == "anew":
        source = replace(source, parts=(None,) * len(source.labels))
    if config.groups is not None:
        source = replace(group_by_pattern(name, config.groups, source), identifying=False)
    if source.identifying:
        keys = pseudonyms or Pseudonyms()
        source = replace(source, groups=tuple(keys.pseudonym(group) for group in source.groups))
    digests, gray = digested(name, source, dims)
    masks = read_masks(name, config, source, complete=complete) if source.masks is not None else None
    classes = masks.structures if masks is not None else tuple(config.classes or source.classes)
    labels = labels_in_order(name, source, classes, complete=complete)
    augment, sided = without_flips(classes, config.augment)
    region = Region(
        name=name,
        task=source.task,
        classes=classes,
        modality=config.modality or source.modality,
        synthetic=source.synthetic,
        grouped=source.grouped,
    )
    get_task(region.task).check_policy(region, config.threshold)
    check_spacing(region, config.spacing)
    _check_parts(name, source)
    notices = (*source.notices, *_about_patients(source), *about_names(classes), *sided)
    if source.task == MULTILABEL:
        notices += exclusive_notice(labels)
    return RegionSamples(
        **{**vars(source), "classes": classes, "labels": labels, "notices": notices},
        region=region,
        digests=digests,
        gray=gray,
        dims=dims,
        mask_digests=masks.digests if masks is not None else (),
        present=masks.present if masks is not None else None,
        nsd_tolerances=tolerances_of(name, config.nsd_tolerance_mm, classes) if masks is not None else (),
        store=volumes_of((pseudonyms or Pseudonyms()).runs),
        augment=augment,
    )


def volumes_of(runs: Path) -> Path:
    """Return the directory of resampled volumes beside a directory of runs."""
    return runs.parent / "foundations" / "volumes"


def _about_patients(source: Source) -> tuple[str, ...]:
    """Say so where patients are unknown, and which pattern is likely; else which ids may be of one patient."""
    if source.grouped:
        return () if source.identifying else about_patients(source.groups)
    proposal = propose(source.names or source.ids, source.parts)
    return (f"split {BY_IMAGE}", *([proposal_notice(proposal)] if proposal is not None else []))


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Sort class names: as numbers if all of them are, else as text."""
    distinct = set(names)
    numeric = all(name.isascii() and name.isdigit() for name in distinct)
    if not numeric:
        return tuple(sorted(distinct))
    values = {name: name.lstrip("0") for name in distinct}  # compared as texts: int() refuses very long ones
    return tuple(sorted(distinct, key=lambda name: (len(values[name]), values[name], len(name))))


def encode(names: Sequence[str], origin: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Convert class names to indices of `classes`; raise DataError naming the row of an unknown one."""
    index = {name: position for position, name in enumerate(classes)}
    for row, name in enumerate(names):
        if name not in index:
            raise DataError(
                f"{origin}: label '{name}' of sample {row + 1}",
                required=f"one of the classes {', '.join(classes)}",
                fix="correct the label or add the class",
            )
    return np.array([index[name] for name in names], dtype=np.int64)


def known_part(text: str) -> str | None:
    """Return the part that a text names (`Training`, `valid`, `test_set`), else None."""
    name = _PART_OF.sub("", text.strip().lower())
    part = _PART_NAMES.get(name, name)
    return part if part in PARTS else None


def part_name(text: str, where: str) -> str | None:
    """Return the part of a split column's value, None if empty; raise DataError for another value."""
    if not text.strip():
        return None
    part = known_part(text)
    if part is None:
        raise DataError(f"{where}: split '{text}'", required="train, val or test", fix="correct it or leave it empty")
    return part


def _check_task(name: str, config: RegionConfig, source: Source) -> None:
    if config.task is not None and config.task not in KNOWN_TASKS:
        raise UsageError(
            f"region '{name}' states the task '{config.task}'",
            required=f"one of {', '.join(KNOWN_TASKS)} in this version",
            fix="change the task or leave the region out",
        )
    found = source.task
    if config.task not in (None, found) and (config.task, found) != (SEGMENTATION, STRUCTURES):
        has = {SEGMENTATION: "masks", MULTILABEL: "several labels per sample"}.get(found, "one label per sample")
        raise UsageError(
            f"region '{name}' states the task '{config.task}'",
            required=f"{found}: {source.origin} has {has}",
            fix="correct the task or the data",
        )
    if found != MULTILABEL and config.pos_weight is not None:
        given = f"region '{name}' of task {found} states pos_weight"
        raise UsageError(given, required="a multilabel region", fix="leave pos_weight out")
    if source.masks is None and config.structures is not None:
        raise UsageError(
            f"region '{name}' states structures",
            required=f"masks: {source.origin} has labels",
            fix="state classes instead of structures",
        )


def _check_lengths(name: str, source: Source) -> None:
    lengths = {
        "images": len(source.images),
        "labels": len(source.labels),
        "ids": len(source.ids),
        "groups": len(source.groups),
    }
    if source.masks is not None:
        lengths["masks"] = len(source.masks)
    lengths |= {f"cells of column '{column}'": len(cells) for column, cells in source.columns.items()}
    if len(set(lengths.values())) != 1:
        counts = ", ".join(f"{count} {key}" for key, count in lengths.items())
        raise DataError(
            f"region '{name}' in {source.origin} has {counts}", required="one of each per sample", fix="repair the file"
        )
    if lengths["labels"] == 0:
        raise DataError(
            f"region '{name}' has no samples in {source.origin}", required="at least one", fix="check the path"
        )


def _check_parts(name: str, source: Source) -> None:
    stated = sum(part is not None for part in source.parts)
    if 0 < stated < len(source.parts):
        first = source.parts.index(None)
        raise DataError(
            f"region '{name}': {stated} of {len(source.parts)} samples state a part, '{source.ids[first]}' does not",
            required="a part (train, val, test) for every sample or for none",
            fix="fill the split column or empty it",
        )
