"""Train, validation and test parts that share no group and no identical image.

Samples that share a group (patient) or are the same image form a component. Components are assigned to parts greedily
by class, so that every part has about its fraction of each class.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lorkit.decompose.artifacts import SCHEMA_VERSION
from lorkit.decompose.config import SplitConfig
from lorkit.decompose.data.samples.samples import PARTS, RegionSamples
from lorkit.decompose.errors import DataError, plural

Indices = NDArray[np.int64]

_LARGE = 0.25  # of the smallest part: a component above this is hard to place


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

    def to_json(self, samples: Mapping[str, RegionSamples]) -> dict[str, Any]:
        """Return `splits.json`: the digests of each part's images, which lock a split to content, not to rows."""
        regions = {
            region: {part: [samples[region].digests[index] for index in indices] for part, indices in parts.items()}
            for region, parts in self._parts.items()
        }
        labels = {
            region: {part: label_digest(samples[region], indices) for part, indices in parts.items()}
            for region, parts in self._parts.items()
        }
        head = {"schema_version": SCHEMA_VERSION, "kind": "splits", "warnings": []}
        return {**head, "regions": regions, "labels": labels}


def label_digest(samples: RegionSamples, indices: Indices) -> str:
    """Digest the class names or masks of some images, independent of the order of rows."""
    return digest_cases([samples.digests[index] for index in indices], [samples.target(index) for index in indices])


def digest_cases(digests: Sequence[str], targets: Sequence[str]) -> str:
    """Digest a set of cases (images and their targets), independent of their order."""
    rows = sorted(f"{digest}\t{target}" for digest, target in zip(digests, targets, strict=True))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def split_regions(samples: Mapping[str, RegionSamples], split: SplitConfig, *, seed: int) -> Splits:
    """Split every region; parts stated by the source are kept and checked.

    The result depends on the seed and the content, not on the order of rows.

    Raises:
        DataError: Stated parts share a group or an image, or a class has too few groups to be in every part.
    """
    return Splits({name: _split_one(region, split, seed) for name, region in samples.items()})


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
        fix="move them into one part, or state `data` and let lorkit split",
    )


def components(groups: Sequence[str], digests: Sequence[str]) -> list[Indices]:
    """Return components of samples that share a group or an identical image, each ascending."""
    group_N, image_N = (np.unique(keys, return_inverse=True)[1] for keys in (groups, digests))
    edges = (group_N, image_N + len(groups))  # groups and images are the nodes that samples connect
    graph = coo_array((np.ones(len(groups)), edges), shape=(2 * len(groups), 2 * len(groups)))
    component_N = connected_components(graph, directed=False)[1][group_N]
    members: dict[int, list[int]] = defaultdict(list)
    for index, component in enumerate(component_N.tolist()):
        members[component].append(index)
    return [np.array(indices, dtype=np.int64) for indices in members.values()]


def _split_one(samples: RegionSamples, split: SplitConfig, seed: int) -> dict[str, Indices]:
    parts = _parts_of(samples, split, seed)
    _check_structures(samples, parts["train"])
    return parts


def _parts_of(samples: RegionSamples, split: SplitConfig, seed: int) -> dict[str, Indices]:
    if samples.parts[0] is None:
        everything = np.arange(len(samples), dtype=np.int64)
        return _deal(
            samples, everything, {"train": 1 - split.val - split.test, "val": split.val, "test": split.test}, seed
        )
    for leak in find_leaks(samples):
        raise leak_error(samples, leak)
    stated = np.array(samples.parts)
    parts = {part: np.flatnonzero(stated == part).astype(np.int64) for part in PARTS}
    parts |= _fill_missing(samples, parts, split, seed)
    for part, indices in parts.items():
        _check_classes(samples, part, indices)
    return parts


def _fill_missing(
    samples: RegionSamples, parts: Mapping[str, Indices], split: SplitConfig, seed: int
) -> dict[str, Indices]:
    """Take val or test out of train, by group, if the source states only the other parts."""
    shares = {part: getattr(split, part) for part in ("val", "test") if not len(parts[part])}
    if not shares or not len(parts["train"]):
        return {}
    return _deal(samples, parts["train"], {"train": 1 - sum(shares.values()), **shares}, seed)


def _deal(samples: RegionSamples, pool: Indices, shares: Mapping[str, float], seed: int) -> dict[str, Indices]:
    """Assign the components of `pool` to parts so that each part has its share of every class."""
    inside = set(pool.tolist())
    least = min(shares.values()) * len(pool)
    tied = components(samples.groups, samples.digests)
    pieces = _in_order([piece for piece in tied if int(piece[0]) in inside], samples, seed, least)
    counts = np.stack([_histogram(samples, piece) for piece in pieces])  # (components, classes)
    total = counts.sum(axis=0).clip(min=1)
    fractions = np.array(list(shares.values()))[:, None]  # (parts, 1)
    dealt = _first_of_each_class(samples, counts, list(shares))
    filled = np.zeros((len(shares), counts.shape[1]))
    for piece, part in dealt.items():
        filled[part] += counts[piece]
    for piece in range(len(pieces)):
        if piece in dealt:
            continue
        # How full each part is of the piece's classes, relative to its share; rare classes weigh more. Parts fill
        # equally, so that each gets groups of every size. A large piece is counted in beforehand, and is placed
        # where it exceeds the share least.
        ahead = counts[piece] if len(pieces[piece]) > least * _LARGE else 0
        fullness = (filled + ahead) / (total * fractions)
        part = int(np.argmin(fullness @ (counts[piece] / total)))
        dealt[piece] = part
        filled[part] += counts[piece]
    owned = [[pieces[piece] for piece, owner in dealt.items() if owner == part] for part in range(len(shares))]
    return {name: np.sort(np.concatenate(mine)) for name, mine in zip(shares, owned, strict=True)}


def _first_of_each_class(samples: RegionSamples, counts: NDArray[np.int64], parts: list[str]) -> dict[int, int]:
    """Give every part one component of every class, rarest class first.

    Raises:
        DataError: A class has fewer groups than there are parts.
    """
    dealt: dict[int, int] = {}
    have = np.zeros((len(parts), counts.shape[1]), dtype=np.int64)
    for label in np.argsort((counts > 0).sum(axis=0), kind="stable"):
        for part in reversed(range(len(parts))):  # train last: it gets the rest
            if have[part, label]:
                continue
            free = [piece for piece in np.flatnonzero(counts[:, label]).tolist() if piece not in dealt]
            if not free:
                raise _too_few_groups(samples, int(label), int((counts[:, label] > 0).sum()), parts)
            piece = free[0] if parts[part] == "train" else min(free, key=lambda index: int(counts[index].sum()))
            dealt[piece] = part
            have[part] += counts[piece]
    return dealt


def _too_few_groups(samples: RegionSamples, label: int, found: int, parts: list[str]) -> DataError:
    name, has = samples.strata[label], plural(found, "group")
    if samples.masks is not None:
        return DataError(
            f"region '{samples.region.name}' has {has}, too few for {', '.join(parts)}",
            required=f"at least {len(parts)} groups",
            fix="add patients, or leave the region out",
        )
    return DataError(
        f"class '{name}' of region '{samples.region.name}' has {has}, too few for {', '.join(parts)}",
        required=f"at least {len(parts)} groups of every class",
        fix="add patients, merge classes or leave the class out",
    )


def _check_classes(samples: RegionSamples, part: str, indices: Indices) -> None:
    counts = _histogram(samples, indices)
    for name, count in zip(samples.strata, counts, strict=True):
        if count == 0:
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


def _in_order(pieces: list[Indices], samples: RegionSamples, seed: int, least: float) -> list[Indices]:
    """Order components by a hash of content and seed, independent of the order of rows.

    Components larger than `least`, the smallest number of samples of a part, come first by size.
    """

    def key(piece: Indices) -> tuple[int, str]:
        content = min(samples.digests[index] for index in piece)
        size = len(piece) if len(piece) > least * _LARGE else 0
        return -size, hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()

    return sorted(pieces, key=key)


def _histogram(samples: RegionSamples, indices: Indices) -> NDArray[np.int64]:
    return np.bincount(samples.labels[indices], minlength=len(samples.strata)).astype(np.int64)
