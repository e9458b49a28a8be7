"""Train, validation and test parts that share no group and no identical image.

Samples that share a group (patient) or are the same image form a component. Components are assigned to parts greedily
by class, so that every part has about its fraction of each class.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lorkit.decompose.artifacts import SCHEMA_VERSION
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import SplitConfig
from lorkit.decompose.data.assignment import Indices, Pool, assign, class_counts
from lorkit.decompose.data.keyed_digests import digest_cases, keyed_digests
from lorkit.decompose.data.samples.label_table import MULTILABEL, check_both_answers
from lorkit.decompose.data.samples.samples import PARTS, RegionSamples
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.metrics.multilabel import undefined_labels
from lorkit.decompose.regions import NODE


class Leak(NamedTuple):
    """Two samples of different parts that must not be separated."""

    kind: str
    first: int
    second: int
    parts: tuple[str, str]


class Splits:
    """The parts of each region as sample indices."""

    def __init__(self, parts: Mapping[str, Mapping[str, Indices]]) -> None:
        self._parts = {region: dict(indices) for region, indices in parts.items()}

    def parts(self, region: str) -> dict[str, Indices]:
        """Return the indices of train, val and test of a region, each ascending."""
        return self._parts[region]

    def digests(self, samples: Mapping[str, RegionSamples]) -> dict[str, dict[str, list[str]]]:
        """Return the plain digests of the images by region and part."""
        return {
            region: {part: [samples[region].digests[index] for index in indices] for part, indices in parts.items()}
            for region, parts in self._parts.items()
        }

    def to_json(self, samples: Mapping[str, RegionSamples], key: DirectoryKey) -> dict[str, Any]:
        """Return `splits.json`: keyed digests of each part's images, which lock a split to content, not to rows."""
        regions = {
            region: {part: keyed_digests(digests, key) for part, digests in parts.items()}
            for region, parts in self.digests(samples).items()
        }
        labels = {
            region: {part: label_digest(samples[region], indices, key) for part, indices in parts.items()}
            for region, parts in self._parts.items()
        }
        head = {"schema_version": SCHEMA_VERSION, "kind": "splits", "warnings": []}
        return {**head, "regions": regions, "labels": labels, "keys": dict.fromkeys(regions, key.name)}


SPLIT_KEYS = ("regions", "labels", "keys")
"""What `splits.json` states by region: digests by part, digests of labels by part, and the name of the key of both."""


def label_digest(samples: RegionSamples, indices: Indices, key: DirectoryKey) -> str:
    """Return the keyed digest of the class names or masks of some images, independent of the order of rows."""
    targets = [samples.target(index) for index in indices]
    return digest_cases([samples.digests[index] for index in indices], targets, key)


def split_regions(samples: Mapping[str, RegionSamples], split: SplitConfig, *, seed: int) -> Splits:
    """Split every region; parts stated by the source are kept and checked.

    An image of several regions is in the same part of all of them. The result depends on the seed and the content, not
    on the order of rows.

    Raises:
        DataError: Stated parts share a group or an image, or a class has too few groups to be in every part.
    """
    ties = _ties(samples)
    known = _stated_parts(samples, ties)
    parts = {}
    for name in sorted(samples, key=lambda name: samples[name].parts[0] is None):  # those that state parts first
        parts[name] = _split_one(samples[name], Pool(ties[name], known, seed), split)
        known |= {int(ties[name][index]): part for part, indices in parts[name].items() for index in indices.tolist()}
    return Splits({name: parts[name] for name in samples})


def regions_of_same_images(samples: Mapping[str, RegionSamples]) -> list[tuple[str, str]]:
    """Return the pairs of regions that have an image in common, by digest."""
    digests = {name: set(region.digests) for name, region in samples.items()}
    return [(one, other) for one, other in itertools.combinations(digests, 2) if digests[one] & digests[other]]


def _ties(samples: Mapping[str, RegionSamples]) -> dict[str, Indices]:
    """Return the component of each sample: groups of a region and identical images of all regions tie samples."""
    groups = [f"{name}\t{group}" for name, region in samples.items() for group in region.groups]
    digests = [digest for region in samples.values() for digest in region.digests]
    owners = np.empty(len(groups), dtype=np.int64)
    for number, members in enumerate(components(groups, digests)):
        owners[members] = number
    ends = np.cumsum([len(region) for region in samples.values()])[:-1]
    return dict(zip(samples, np.split(owners, ends), strict=True))


def _stated_parts(samples: Mapping[str, RegionSamples], ties: Mapping[str, Indices]) -> dict[int, str]:
    """Return the part of each component of which a region states it finally.

    The training part of a region that states no val or test is not final: they are taken out of it.

    Raises:
        DataError: Stated parts of a region share a group or an image, or two regions state different parts of an image.
    """
    for region in samples.values():
        for leak in find_leaks(region):
            raise leak_error(region, leak)
    known, contradictions = _across_regions(samples, ties)
    for _, error in contradictions:
        raise error
    return known


def _across_regions(
    samples: Mapping[str, RegionSamples], ties: Mapping[str, Indices]
) -> tuple[dict[int, str], list[tuple[str, DataError]]]:
    """Return the final part of each component, and one error for each that regions put into several."""
    known: dict[int, str] = {}
    origin: dict[int, tuple[str, int]] = {}
    found: dict[int, tuple[str, DataError]] = {}
    for name in sorted(samples, key=lambda name: len(_missing(samples[name]))):
        region, missing = samples[name], _missing(samples[name])
        for index, (part, tie) in enumerate(zip(region.parts, ties[name].tolist(), strict=True)):
            if part is None:
                continue
            fixed = known.get(tie)
            if fixed not in (None, part) and not (part == "train" and fixed in missing):
                if origin[tie][0] != name:  # within a region it is a leak
                    other = samples[origin[tie][0]].describe(origin[tie][1])
                    found.setdefault(tie, (name, _contradiction(region.describe(index), str(part), other, str(fixed))))
            elif not (part == "train" and missing):
                known[tie] = part
                origin.setdefault(tie, (name, index))
    return known, list(found.values())


def _contradiction(one: str, part: str, other: str, fixed: str) -> DataError:
    return DataError(
        f"{one} is in {part}; the same image or patient, {other}, is in {fixed}",
        required="one part for an image, in every region",
        fix="state the same part, leave the image out of one region, or set parts: anew in one",
    )


def find_contradictions(samples: Mapping[str, RegionSamples]) -> list[tuple[str, DataError]]:
    """Return a region and an error for each image or patient that several regions state in different parts."""
    return _across_regions(samples, _ties(samples))[1]


def _missing(samples: RegionSamples) -> tuple[str, ...]:
    """Return which of val and test a region that states parts does not state."""
    stated = set(samples.parts)
    return () if None in stated else tuple(part for part in PARTS[1:] if part not in stated)


def find_leaks(samples: RegionSamples) -> list[Leak]:
    """Return one pair of samples for each group or image that is in two stated parts."""
    leaks = []
    for kind, keys in (("group", samples.groups), ("image", samples.digests)):
        seen: dict[str, int] = {}
        reported = set()
        for index, (key, part) in enumerate(zip(keys, samples.parts, strict=True)):
            first = seen.setdefault(key, index)
            other = samples.parts[first]
            if part and other and part != other and key not in reported:
                reported.add(key)
                leaks.append(Leak(kind, first, index, (other, part)))
    return leaks


def leak_error(samples: RegionSamples, leak: Leak) -> DataError:
    """Return the error of a leak, with both samples, their groups and their parts."""
    one, two = (
        f"'{samples.ids[index]}' (group '{samples.groups[index]}') in {part}"
        for index, part in zip((leak.first, leak.second), leak.parts, strict=True)
    )
    what = "share a group" if leak.kind == "group" else "are the same image"
    return DataError(
        f"region '{samples.region.name}': {one} and {two} {what}",
        required="parts that share neither groups nor images",
        fix="remove one of the two, or set parts: anew in the region, so that lorkit splits without the stated parts",
    )


def components(groups: Sequence[str], digests: Sequence[str]) -> list[Indices]:
    """Return components of samples that share a group or an identical image, each ascending."""
    from scipy.sparse import coo_array  # which locked splits do not need
    from scipy.sparse.csgraph import connected_components

    group_N, image_N = (np.unique(keys, return_inverse=True)[1] for keys in (groups, digests))
    edges = (group_N, image_N + len(groups))  # groups and images are the nodes that samples connect
    graph = coo_array((np.ones(len(groups)), edges), shape=(2 * len(groups), 2 * len(groups)))
    component_N = connected_components(graph, directed=False)[1][group_N]
    members: dict[int, list[int]] = defaultdict(list)
    for index, component in enumerate(component_N.tolist()):
        members[component].append(index)
    return [np.array(indices, dtype=np.int64) for indices in members.values()]


def _split_one(samples: RegionSamples, pool: Pool, split: SplitConfig) -> dict[str, Indices]:
    if samples.region.task == NODE:
        from lorkit.decompose.data.node_samples import NodeSamples, split_nodes  # with SciPy

        assert isinstance(samples, NodeSamples)  # as all of this task
        return split_nodes(samples, split)
    if split.by != "group":
        raise UsageError(
            f"split.by {split.by} for region '{samples.region.name}', which has images",
            required="group",
            fix="leave split.by out; only the nodes of graphs are split in other ways",
        )
    parts = _parts_of(samples, pool, split)
    _check_structures(samples, parts["train"])
    if samples.task == MULTILABEL:
        where = f"region '{samples.region.name}' in its train part"
        check_both_answers(samples.labels[parts["train"]], samples.region.classes, where)
        if len(undefined_labels(samples.labels[parts["val"]], samples.region.classes)) == len(samples.region.classes):
            raise DataError(
                f"no label of region '{samples.region.name}' has positive and negative samples in its val part",
                required="at least one such label: validation chooses the epoch by AUROC",
                fix="move samples, or change split.val",
            )
    return parts


def _parts_of(samples: RegionSamples, pool: Pool, split: SplitConfig) -> dict[str, Indices]:
    if samples.parts[0] is None:
        everything = np.arange(len(samples), dtype=np.int64)
        shares = {"train": 1 - split.val - split.test, "val": split.val, "test": split.test}
        return assign(samples, everything, shares, pool)
    stated = np.array(samples.parts)
    parts = {part: np.flatnonzero(stated == part).astype(np.int64) for part in PARTS}
    parts |= _fill_missing(samples, parts, split, pool)
    for part, indices in parts.items():
        _check_classes(samples, part, indices)
    return parts


def _fill_missing(
    samples: RegionSamples, parts: Mapping[str, Indices], split: SplitConfig, pool: Pool
) -> dict[str, Indices]:
    """Take val or test out of train, by group, if the source states only the other parts."""
    shares = {part: getattr(split, part) for part in ("val", "test") if not len(parts[part])}
    if not shares or not len(parts["train"]):
        return {}
    return assign(samples, parts["train"], {"train": 1 - sum(shares.values()), **shares}, pool)


def _check_classes(samples: RegionSamples, part: str, indices: Indices) -> None:
    counts = class_counts(samples, indices)
    for name, count in zip(samples.strata, counts, strict=True):
        if count == 0 and (samples.task != MULTILABEL or not len(indices)):
            raise DataError(
                f"class '{name}' of region '{samples.region.name}' has no sample in its {part} part",
                required="every class in every part",
                fix="move samples, or state `data` and let lorkit split",
            )


def _check_structures(samples: RegionSamples, indices: Indices) -> None:
    """Refuse a training part without any mask of a structure; in other parts its Dice is undefined."""
    if samples.present is None:
        return
    for name, count in zip(samples.region.classes, samples.present[indices].sum(0), strict=True):
        if count == 0:
            raise DataError(
                f"structure '{name}' of region '{samples.region.name}' is in no mask of its train part",
                required="every structure in the training part",
                fix="move samples, change split.val and split.test, or leave the structure out",
            )
