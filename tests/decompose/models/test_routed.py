"""The routed model against an explicit mixture of weights, sample by sample."""

from __future__ import annotations

import pytest
import torch
from routed_models import make_routed, routed_batch
from small_methods import REGIONS
from torch import Tensor, nn

from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import expert_layers, extract
from lorkit.decompose.models.routed import RoutedModel


def mixed(model: RoutedModel, gates_GM: Tensor) -> nn.Module:
    """Return the plain backbone of one sample: every layer with the mixture of its group's weights."""
    weights = {}
    for name, layer in expert_layers(model.backbone).items():
        group = next(g for g, routing in enumerate(model.adapters) if layer.routing is routing)
        updates = [layer.delta_weight(adapter) for adapter in layer.routing.regions]
        weights[name] = layer.base.weight + sum(gate * one for gate, one in zip(gates_GM[group], updates, strict=True))
    plain = extract(model.backbone, model.adapters[0].regions[0])
    with torch.no_grad():
        for name, weight in weights.items():
            plain.get_submodule(name).weight.copy_(weight)
    return plain


@pytest.mark.parametrize("router", ["features", "downscaled", "image"])
@pytest.mark.parametrize("gates", ["network", "stage"])
@pytest.mark.parametrize(("backbone", "layout"), [("tiny_resnet", "reshape"), ("tiny_vit", "conv")])
@pytest.mark.usefixtures("tiny")
def test_every_sample_has_the_mixture_of_its_gates(router: str, gates: str, backbone: str, layout: str) -> None:
    settings = (f"mola.router={router}", f"mola.gates={gates}", f"mola.layout={layout}", "mola.adapters=3")
    _, module = make_routed(*settings, "mola.rank=2", backbone=backbone)
    model, data = module.live.eval(), routed_batch()
    with torch.no_grad():
        output = model.routed(data.image, data.region)
        assert output.gating.gates.shape == (5, 4 if gates == "stage" else 1, 3)
        for n in range(5):
            plain = mixed(model, output.gating.gates[n])
            features = plain(model.normalise(data.image[n : n + 1]))
            name = REGIONS.names[data.region[n]]
            row = output.heads.rows[name].tolist().index(n)
            torch.testing.assert_close(output.heads.features[name][row], features[0])
            torch.testing.assert_close(output.heads.logits[name][row], model.heads[name](features)[0])
        gating, regions = model.gate(data.image)
        torch.testing.assert_close(gating.gates, output.gating.gates)
        torch.testing.assert_close(regions, output.regions)


def test_the_order_of_the_batch_does_not_matter() -> None:
    _, module = make_routed()
    data, order = routed_batch(), torch.tensor([3, 0, 4, 2, 1])
    with torch.no_grad():
        model = module.live.eval()
        one = model.routed(data.image, data.region)
        two = model.routed(data.image[order], data.region[order])
    for name in REGIONS.names:
        places = [order[row].item() for row in two.heads.rows[name]]
        rows = [one.heads.rows[name].tolist().index(place) for place in places]
        torch.testing.assert_close(one.heads.features[name][rows], two.heads.features[name])
    torch.testing.assert_close(one.gating.gates[order], two.gating.gates)
    torch.testing.assert_close(one.regions[order], two.regions)


def test_layers_up_to_the_tap_have_no_adapters() -> None:
    _, module = make_routed(backbone="resnet18")
    names = list(expert_layers(module.live.backbone))
    assert names
    assert not [name for name in names if name == "conv1" or name.startswith("layer1")]
    assert {name.partition(".")[0] for name in names} == {"layer2", "layer3", "layer4"}
    _, other = make_routed("mola.router=image", backbone="resnet18")
    assert "conv1" in expert_layers(other.live.backbone)


def test_gates_end_with_the_outermost_scope() -> None:
    _, module = make_routed()
    data = routed_batch()
    with module.live.scope(data.region):
        module(data, None)
        assert module.live.adapters[0].current("x").gates is not None
    with pytest.raises(UsageError, match="without a region"):
        module.live.adapters[0].current("x")


def test_heads_of_different_classes_are_not_averaged() -> None:
    with pytest.raises(UsageError, match="regions a and b have different classes"):
        make_routed("mola.heads=weighted")
