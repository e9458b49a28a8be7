"""Data: reading, splitting by group, preparing, sampling, and the built-in phantoms.

The modules of `batches` need torch; import them from there. Reading data does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lorkit.decompose.lazy import imported_on_use

if TYPE_CHECKING:
    from lorkit.decompose.data.prepared import PreparedRegion, prepare
    from lorkit.decompose.data.readers.registry import read_region, read_regions
    from lorkit.decompose.data.samples.samples import PARTS, RegionSamples
    from lorkit.decompose.data.splits import Splits, split_regions

__all__ = [
    "PARTS",
    "PreparedRegion",
    "RegionSamples",
    "Splits",
    "prepare",
    "read_region",
    "read_regions",
    "split_regions",
]
_HOMES = {
    "PARTS": "samples.samples",
    "PreparedRegion": "prepared",
    "RegionSamples": "samples.samples",
    "Splits": "splits",
    "prepare": "prepared",
    "read_region": "readers.registry",
    "read_regions": "readers.registry",
    "split_regions": "splits",
}
__getattr__ = imported_on_use(__name__, _HOMES)
