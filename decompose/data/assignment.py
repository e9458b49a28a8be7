"""Assign components of samples to the parts of a split, so that each part has about its share of every class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.data.samples.label_table import MULTILABEL
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.errors import DataError, plural

Indices = NDArray[np.int64]

_LARGE = 0.25  # of the smallest part: a component above this is hard to place


class Pool(NamedTuple):
    """What ties samples of a region together, and parts that other regions have fixed."""

    ties_N: Indices
    known: Mapping[int, str]
    seed: int


def assign(samples: RegionSamples, chosen: Indices, shares: Mapping[str, float], pool: Pool) -> dict[str, Indices]:
    """Assign the components of chosen samples to parts so that each part has its share of every class."""
    least = min(shares.values()) * len(chosen)
    pieces = _in_order(_pieces(chosen, pool.ties_N), samples, pool.seed, least)
    counts = np.stack([class_counts(samples, piece) for piece in pieces])  # (components, classes)
    total = counts.sum(axis=0).clip(min=1)
    fractions = np.array(list(shares.values()))[:, None]  # (parts, 1)
    dealt = _fixed_elsewhere(pieces, list(shares), pool)
    dealt = _first_of_each_class(samples, counts, list(shares), dealt)
    filled = np.zeros((len(shares), counts.shape[1]))
    for piece, part in dealt.items():
        filled[part] += counts[piece]
    for piece in range(len(pieces)):
        if piece in dealt:
            continue
        # How full each part is of the piece's classes, relative to its share; rare classes weigh more. Parts fill in
        # step, so that groups of every size come into all of them. A large piece is counted in beforehand: it goes
        # where it overfills least.
        ahead = counts[piece] if len(pieces[piece]) > least * _LARGE else 0
        fullness = (filled + ahead) / (total * fractions)
        part = int(np.argmin(fullness @ (counts[piece] / total)))
        dealt[piece] = part
        filled[part] += counts[piece]
    return {name: _gather(pieces, dealt, part) for part, name in enumerate(shares)}


def _pieces(chosen: Indices, ties_N: Indices) -> list[Indices]:
    """Return the components of chosen samples, each ascending."""
    ties = ties_N[chosen]
    order = np.argsort(ties, kind="stable")
    return np.split(chosen[order], np.flatnonzero(np.diff(ties[order])) + 1)


def _fixed_elsewhere(pieces: list[Indices], parts: list[str], pool: Pool) -> dict[int, int]:
    """Return the part of each component that holds an image of a region which was split before."""
    found = {index: pool.known.get(int(pool.ties_N[piece[0]])) for index, piece in enumerate(pieces)}
    return {index: parts.index(part) for index, part in found.items() if part in parts}


def _first_of_each_class(
    samples: RegionSamples, counts: NDArray[np.int64], parts: list[str], fixed: Mapping[int, int]
) -> dict[int, int]:
    """Give every part one component of every class, rarest class first, beside components that are fixed.

    A label of a multilabel region may be missing in a part.

    Raises:
        DataError: A class has fewer groups than there are parts.
    """
    dealt = dict(fixed)
    have = np.zeros((len(parts), counts.shape[1]), dtype=np.int64)
    for piece, part in fixed.items():
        have[part] += counts[piece]
    groups_C = (counts > 0).sum(axis=0)
    for label in np.argsort(groups_C, kind="stable"):
        order = list(reversed(range(len(parts))))  # train last: it takes what is left anyway
        optional = samples.task == MULTILABEL and samples.strata[label] in samples.region.classes
        if optional and groups_C[label] < len(parts):
            order.reverse()  # a rare label is first of all learned; elsewhere its metrics are undefined
        for part in order:
            if have[part, label]:
                continue
            free = [piece for piece in np.flatnonzero(counts[:, label]).tolist() if piece not in dealt]
            if not free and optional:
                continue
            if not free:
                of_class = np.flatnonzero(counts[:, label]).tolist()
                tied = sum(piece in fixed for piece in of_class)
                raise _too_few_groups(samples, int(label), (len(of_class), tied), parts)
            piece = free[0] if parts[part] == "train" else min(free, key=lambda index: int(counts[index].sum()))
            dealt[piece] = part
            have[part] += counts[piece]
    return dealt


def _too_few_groups(samples: RegionSamples, label: int, found: tuple[int, int], parts: list[str]) -> DataError:
    name, has = samples.strata[label], plural(found[0], "group")
    if found[1]:
        has += f" ({found[1]} in the parts where other regions have their images)"
    if name == "sample":
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


def _in_order(pieces: list[Indices], samples: RegionSamples, seed: int, least: float) -> list[Indices]:
    """Order components by a hash of content and seed, independent of the order of rows.

    Components larger than `least`, the smallest number of samples of a part, come first by size.
    """

    def key(piece: Indices) -> tuple[int, str]:
        content = min(samples.digests[index] for index in piece)
        size = len(piece) if len(piece) > least * _LARGE else 0
        return -size, hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()

    return sorted(pieces, key=key)


def class_counts(samples: RegionSamples, indices: Indices) -> NDArray[np.int64]:
    """Return how many of some samples there are of each class."""
    return samples.strata_counts(indices)


def _gather(pieces: list[Indices], dealt: Mapping[int, int], part: int) -> Indices:
    chosen = [pieces[piece] for piece, owner in dealt.items() if owner == part]
    return np.sort(np.concatenate(chosen))
