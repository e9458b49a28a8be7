"""Gated layers against the live expert layers, in float64, for hard ids and soft gates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lorkit.decompose.documents.gated import GatedForm, GatedSpec
from lorkit.decompose.experts import ExpertConfig, Routing, add_experts_, factor_parameters
from lorkit.decompose.models.mixtures.building import gated_backbone, gated_specs

SAMPLES = 5
CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def live_layer(layer: nn.Module, adapters: int, config: ExpertConfig) -> tuple[nn.Module, Routing]:
    """Return a network of one layer with adapters whose updates matter, in float64 and eval mode."""
    torch.manual_seed(3)
    network = nn.Sequential(layer)
    routing = add_experts_(network, [f"a{index}" for index in range(adapters)], config)
    with torch.no_grad():
        for value in factor_parameters(network):
            value.normal_(0, 0.3)
    return network.double().eval(), routing


def gated_outputs(
    network: nn.Module, routing: Routing, x: Tensor, gates: Tensor, form: GatedForm | None = None
) -> tuple[Tensor, GatedForm]:
    """Return what the deployable form computes for ids (N,) or gates (N, M), and its form."""
    ids = gates.dim() == 1
    specs = gated_specs(network, [routing], tuple(x.shape[1:]), picked=ids)
    if form is not None:
        specs = [spec.with_changes(form=form) for spec in specs]
    gated, (held,) = gated_backbone(network, specs, [routing])
    held.pick(gates) if ids else held.weigh(gates)
    return gated(x), specs[0].form


def live_outputs(network: nn.Module, routing: Routing, x: Tensor, gates: Tensor) -> Tensor:
    with routing.use(gates):
        return network(x)


def check(layer: nn.Module, x: Tensor, config: ExpertConfig, adapters: int, form: GatedForm | None = None) -> GatedForm:
    network, routing = live_layer(layer, adapters, config)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(adapters, (SAMPLES,), generator=generator)
    soft = torch.randn(SAMPLES, adapters, generator=generator, dtype=torch.float64).softmax(1)
    chosen = form
    with torch.no_grad():
        for gates in (ids, soft):
            found, chosen = gated_outputs(network, routing, x, gates, form)
            expected = live_outputs(network, routing, x, gates)
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert chosen is not None
    return chosen


def spec(form: str, ranks: Sequence[int]) -> GatedSpec:
    return GatedSpec.model_validate({"name": "0", "form": form, "ranks": list(ranks), "gate_group": 0})
