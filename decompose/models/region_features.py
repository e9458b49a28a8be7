"""Features of the rows of a batch by region: pooled features for classes and labels, maps for masks.

Shapes: N images of a batch, grouped by region, n_t of them of region t, F features, M channels of maps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from lorkit.decompose.experts.batch_routing import BatchRouting
from lorkit.decompose.models.backbones.outputs import decoder_parameters
from lorkit.decompose.models.backbones.stages import Encoding, Forked
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.tasks import get_task

Rows = Mapping[int, slice]
"""The rows of a grouped batch by region index."""
DecoderScope = Callable[[Rows], AbstractContextManager[object]]
"""Routes some rows while the decoder runs on these alone."""


def features_by_region(
    network: Forked, encoding: Encoding, routed: BatchRouting, dense: Sequence[bool], scope: DecoderScope
) -> dict[int, Tensor]:
    """Return the features of each region's rows: (n_t, F), or (n_t, M, *spatial) of a region with masks.

    The decoder runs only on the rows of regions with masks.

    Args:
        network: The backbone.
        encoding: All of its stages for a batch whose rows are grouped by region.
        routed: The plan of the batch.
        dense: By region index, whether a region has masks.
        scope: Routes the rows of the decoder.
    """
    counts = routed.rows(encoding.last, "heads")
    ends = list(accumulate(counts))
    rows = {t: slice(end - count, end) for t, count, end in zip(routed.regions, counts, ends, strict=True)}
    found: dict[int, Tensor] = {}
    for masks in (False, True):
        regions = [t for t in routed.regions if dense[t] is masks]
        if not regions:
            continue
        part = encoding.rows(joined([rows[t] for t in regions]))
        if masks:
            with scope({t: rows[t] for t in regions}):
                features = network.maps(part)
        else:
            features = network.pooled(part.last)
        sizes = [rows[t].stop - rows[t].start for t in regions]
        found |= dict(zip(regions, torch.split(features, sizes), strict=True))
    return {t: found[t] for t in routed.regions}


def joined(rows: Sequence[slice]) -> list[slice]:
    """Join slices, ascending and apart, that follow each other without a gap."""
    found = [rows[0]]
    for one in rows[1:]:
        if one.start == found[-1].stop:
            found[-1] = slice(found[-1].start, one.stop)
        else:
            found.append(one)
    return found


def plan_of(routed: BatchRouting, rows: Rows) -> BatchRouting:
    """Return the plan of some of the rows of a batch, which are grouped and stay in order."""
    if len(rows) == len(routed.regions):
        return routed
    counts = tuple(one.stop - one.start for one in rows.values())
    return replace(
        routed,
        regions=tuple(rows),
        counts=counts if len(rows) > 1 else (),
        order=None,
        inverse=None,
        samples=sum(counts),
        equal=len(set(counts)) == 1,
    )


def idle_parameters(backbone: nn.Module, regions: RegionSet, present: Collection[str]) -> list[nn.Parameter]:
    """Return the parameters of a U-Net's decoder that a batch of the regions `present` does not reach."""
    dense = {region.name for region in regions if get_task(region.task).dense}
    reached = dense.intersection(present)
    owners = [(owner_of(name, regions.names), value) for name, value in decoder_parameters(backbone)]
    return [value for owner, value in owners if not (reached if owner is None else owner in reached)]
