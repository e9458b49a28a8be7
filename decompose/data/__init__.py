"""Data: reading, splitting by group, preparing, sampling, and the built-in phantoms.

The modules of `batches` need torch; import them from there. Reading data does not import torch.
"""

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
