"""Norms of a mixture against the live norms by region, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.documents.gated import GatedSpec
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts.norms.region_norm import RegionNorm
from lorkit.decompose.experts.routing import Routing
from lorkit.decompose.models.mixtures.building import gated_backbone

SAMPLES, SPECS = 5, [GatedSpec(name="0", form="norm", ranks=[0, 0], gate_group=0)]


def live(network: nn.Module, x: Tensor, ids: Tensor) -> Tensor:
    with network[0].routing.use(ids):
        return network(x)


@pytest.mark.parametrize("policy", ["region", "statistics"])
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
@pytest.mark.parametrize("affine", [True, False])
def test_norms_equal_the_live_norm(policy: str, norm: type[nn.Module], affine: bool) -> None:
    dims = int(norm.__name__[-2])
    network = nn.Sequential(nn.Linear(3, 3), norm(3, affine=affine))
    network[1] = RegionNorm(network[1], policy, Routing(("a", "b")))  # type: ignore[arg-type]
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            if "running_var" in name or name.endswith("weight"):
                value.uniform_(0.5, 2)
            elif "running_mean" in name or name.endswith("bias"):
                value.normal_()
    network = nn.Sequential(network[1]).double().eval()
    x = torch.randn(SAMPLES, 3, *(4,) * (dims if dims > 1 else 0), dtype=torch.float64)
    ids = torch.tensor([1, 0, 1, 1, 0])
    gated, (held,) = gated_backbone(network, SPECS, [network[0].routing])
    held.pick(ids)
    torch.testing.assert_close(gated(x), live(network, x, ids), rtol=1e-10, atol=1e-10)
    if dims == 1:
        long = torch.randn(SAMPLES, 3, 6, dtype=torch.float64)
        torch.testing.assert_close(gated(long), live(network, long, ids), rtol=1e-10, atol=1e-10)


def test_a_norm_without_statistics_is_refused() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))
    network[0] = RegionNorm(network[0], "region", Routing(("a", "b")))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="norm '0' has no running statistics"):
        gated_backbone(network, SPECS, [network[0].routing])
