"""RAGFormer: its parts against formulas, nodes apart from their batch, stages, experts and export."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lorkit.decompose.config import ExpertConfig
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import add_experts_, extract
from lorkit.decompose.models.backbones.graphs.mlp import node_mlp
from lorkit.decompose.models.backbones.graphs.ragformer import Fusion, Topology, ragformer
from lorkit.decompose.models.backbones.graphs.tokens import NodeShape, without_labels
from lorkit.decompose.models.backbones.layer_stages import stages_of_layers
from lorkit.decompose.models.backbones.registry import attach_head, build_backbone, new_head
from lorkit.decompose.models.backbones.stage_adapters import stage_shapes, staged
from lorkit.export.onnx.conversion import to_onnx

small = partial(ragformer, width=8, feedforward=12, layers=2, heads=2)
SHAPES = [(2, 1, 1), (2, 3, 2), (3, 2, 1), (3, 4, 2)]  # classes, relations, hops
PARTS = [
    {},
    {"mixing": False},
    {"topology": False},
    {"fusion": False},
    {"mixing": False, "topology": False, "fusion": False},
]


def nodes(count: int, classes: int = 2, relations: int = 3, hops: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, classes + 2, relations, hops + 1, 6, generator=generator)


def of(x: Tensor, **sizes: object) -> nn.Module:
    torch.manual_seed(0)
    return small(x.shape[1], tuple(x.shape[2:]), **sizes)


def test_the_default_sizes_are_the_papers_for_yelpchi() -> None:
    """The published shapes have 345,282 parameters with a head and one set of mixing weights for all layers."""
    model = build_backbone("ragformer", channels=4, image_size=(3, 3, 33))
    count = sum(value.numel() for value in model.parameters())
    assert count == 462_656
    sets, propagated, sizes, head = 3 * (192 * 192 + 192), 3 * 34 * 64, 64, 192 * 2 + 2
    assert count - sets - propagated - sizes + head == 345_282


def test_fusion_is_attention_of_one_head() -> None:
    torch.manual_seed(0)
    model = Fusion(4, 6, 10).double()
    u = torch.randn(3, 4, 6, dtype=torch.float64)
    found = model(u)
    for row, tokens in zip(found, u, strict=True):
        q, k, v = (tokens @ layer.weight.T + layer.bias for layer in (model.query, model.key, model.value))
        weights = torch.exp(q @ k.T / math.sqrt(6))
        mixed = (weights / weights.sum(1, keepdim=True)) @ v
        torch.testing.assert_close(row, model.out.weight @ mixed.reshape(-1) + model.out.bias)


def test_topology_reads_the_propagated_features_of_its_relation() -> None:
    torch.manual_seed(0)
    model = Topology(NodeShape(classes=2, relations=3, hops=2, values=6), 8, 0.0).double()
    x = nodes(5).double()
    found = model(x)
    for r, (first, _, _, second) in enumerate(model.relations):
        flat = torch.cat([x[:, 3, r, 1], x[:, 3, r, 2]], 1)
        wanted = (flat @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
        torch.testing.assert_close(found[:, r], wanted)


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_the_features_are_the_parts_together(parts: dict[str, bool]) -> None:
    x = nodes(4).double()
    model = of(x, **parts).double().eval()
    tokens, topology = model.embed(x)
    for layer in model.layers:
        assert (layer.mix is None) is (parts.get("mixing") is False)
        tokens = layer(tokens)
    own = tokens.reshape(4, 24)
    wanted = own
    if parts.get("fusion", True):
        both = own.view(4, 3, 8) if topology is None else torch.cat([own.view(4, 3, 8), topology], 1)
        wanted = own + model.fusion(both)
    elif topology is not None:
        wanted = own + topology.reshape(4, 24)
    assert (topology is None) is (parts.get("topology") is False)
    torch.testing.assert_close(model(x), wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_any_number_of_classes_relations_and_hops_trains_every_weight(shape: tuple[int, int, int]) -> None:
    x = nodes(6, *shape)
    model = of(x, layers=1).train()
    y = model(x)
    assert y.shape == (6, model.feature_dim) == (6, 8 * shape[1])
    y.square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in model.parameters())


def test_labels_are_hidden_in_training_only() -> None:
    x = nodes(4)
    model = of(x, dropout=0.0, topology_dropout=0.0, label_dropout=1 - 1e-9)
    hidden = without_labels(x)
    torch.testing.assert_close(model.train()(x), model.eval()(hidden))
    assert not torch.allclose(model(x), model(hidden))


def test_the_number_of_neighbours_is_hidden_on_request() -> None:
    x = nodes(4)
    changed = x.clone()
    changed[..., -1] += 1
    for hidden in (True, False):
        model = of(x, group_sizes=not hidden).eval()
        assert torch.equal(model(x), model(changed)) is hidden
    assert torch.equal(model(x), model(x.clone()))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_node_has_one_score_in_any_batch_and_order(shape: tuple[int, int, int]) -> None:
    x = nodes(9, *shape)
    model = of(x).eval()
    with torch.no_grad():
        whole, order = model(x), torch.tensor([4, 0, 8, 1])
        for part, wanted in ((model(x[order]), whole[order]), (model(x[3:4]), whole[3:4])):
            torch.testing.assert_close(part, wanted, atol=1e-6, rtol=0)


def test_every_value_of_a_node_counts_unless_it_stands_for_nothing() -> None:
    """Hop 0 holds the node alone: other groups and the propagated row have no such hop."""
    x = nodes(2).requires_grad_()
    of(x).eval()(x).square().sum().backward()
    used = x.grad.abs().sum((0, 4)) > 0
    wanted = torch.ones(4, 3, 3, dtype=torch.bool)
    wanted[[0, 1, 3], :, 0] = False
    assert torch.equal(used, wanted)


@pytest.mark.parametrize("layers", [1, 2, 4, 5])
@pytest.mark.parametrize("topology", [True, False])
def test_stages_are_runs_of_layers_on_the_tokens_of_each_relation(layers: int, topology: bool) -> None:
    x = nodes(2)
    model = of(x, layers=layers, topology=topology).eval()
    with torch.no_grad():
        found = staged(model).run_stages(x)
        assert torch.equal(found.features, model(x))
    shapes = [tuple(grid.shape[1:]) for grid in found.grids]
    assert shapes == stage_shapes(model, tuple(x.shape[1:]))
    assert shapes[-1] == (8, 3, 1 + topology, 1)
    if layers > 1:
        assert shapes[0] == (8, 3, 7 + topology, 1)
    stages = stages_of_layers(model, tuple(x.shape[1:]))
    assert stages["embedding.linear"] == 0
    assert stages[f"layers.{layers - 1}.leave"] == {1: 0, 2: 2, 4: 3, 5: 3}[layers]
    if topology:
        assert stages["topology.relations.2.3"] == 0


@pytest.mark.parametrize("relations", [1, 3])
def test_experts_reach_every_linear_layer_and_merge(relations: int) -> None:
    x = nodes(6, relations=relations).double()
    model = of(x).double().eval()
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    keys = list(model.state_dict())
    routing = add_experts_(model, ["a", "b"], ExpertConfig(rank=2))
    assert list(routing.wrapped) == linear
    assert len(linear) == 1 + 2 * 7 + 2 * relations + 4
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    ids = torch.tensor([1, 0, 0, 1, 1, 0])
    with torch.no_grad():
        with routing.use(ids):
            y = model(x)
        assert not torch.allclose(y[ids == 0], extract(model, "b")(x[ids == 0]))
        for t, region in enumerate("ab"):
            plain = extract(model, region)
            assert list(plain.state_dict()) == keys
            torch.testing.assert_close(plain(x[ids == t]), y[ids == t])
        gates = torch.eye(2, dtype=torch.float64)[ids]
        with routing.use(gates):
            torch.testing.assert_close(model(x), y)


@pytest.mark.usefixtures("operators_known_once")
@pytest.mark.parametrize("build", [partial(small, layers=1), node_mlp])
@pytest.mark.parametrize(("classes", "relations", "hops"), [(2, 1, 1), (3, 3, 2)])
def test_its_onnx_file_takes_any_batch(
    build: Callable[..., nn.Module], classes: int, relations: int, hops: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    size = (relations, hops + 1, 6)
    backbone = build(classes + 2, size)
    network = attach_head(backbone, new_head(backbone, classes, maps=False)).eval()
    path = tmp_path / "a.onnx"
    to_onnx(network, path, channels=classes + 2, size=size, metadata={})
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 3, 17):
        x = nodes(count, classes, relations, hops)
        with torch.no_grad():
            wanted = network(x).numpy()
        np.testing.assert_allclose(session.run(["logits"], {"image": x.numpy()})[0], wanted, atol=5e-6)


def test_what_is_no_node_is_refused() -> None:
    with pytest.raises(UsageError, match=r"4 channels and size 3x1x6.*1 hop or more"):
        build_backbone("ragformer", channels=4, image_size=(3, 1, 6))
    with pytest.raises(UsageError, match=r"'ragformer' with image size 32x32.*3 dimensions"):
        build_backbone("ragformer", channels=4, image_size=(32, 32))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"width": 9}, r"2 layers of widths 9 and 12 with 2 heads.*multiple of the heads"),
        ({"layers": 0}, r"0 layers"),
        ({"heads": 0}, r"0 heads"),
        ({"label_dropout": 1.0}, r"label_dropout 1.0; required: probabilities"),
    ],
)
def test_sizes_of_no_network_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(4, (3, 3, 6), **sizes)
