"""Low-rank experts: inserted into a network, routed by region, merged into plain networks."""

from __future__ import annotations

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.experts.insertion import add_experts_, factor_parameters
from lorkit.decompose.experts.layers import DepthwiseExperts, ExpertLayer, LowRankExperts
from lorkit.decompose.experts.merging import expert_layers, extract, fuse_, pack_, packed, unfuse_, unpack_
from lorkit.decompose.experts.norms.region_norm import RegionNorm, recalibrate_norm_
from lorkit.decompose.experts.routing import Routing

__all__ = [
    "DepthwiseExperts",
    "ExpertConfig",
    "ExpertLayer",
    "LowRankExperts",
    "RegionNorm",
    "Routing",
    "add_experts_",
    "expert_layers",
    "extract",
    "factor_parameters",
    "fuse_",
    "pack_",
    "packed",
    "recalibrate_norm_",
    "unfuse_",
    "unpack_",
]
