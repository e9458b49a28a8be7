"""Graph convolutions against dense matrices in float64, and what a fit must not see."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from small_graphs import graph_config, small_graph

from lorkit.decompose.config import Config
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.data.graphs.graph import Graph
from lorkit.decompose.data.graphs.links import graph_links
from lorkit.decompose.data.node_samples import GraphPlaces, visible_labels
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import ignore
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.graphs import convolutions
from lorkit.decompose.methods.graphs.base import score_of
from lorkit.decompose.training.graph_settings import resolve_graphs
from lorkit.decompose.training.training_data import prepare_parts

geometric_only = pytest.mark.skipif(
    importlib.util.find_spec("torch_geometric") is None, reason="the extra 'graph' is not installed"
)
NAMES = ("gcn", "rgcn")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, dict[str, PreparedRegion]]:
    config = graph_config(tmp_path_factory.mktemp("graph"))
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    config = resolve_graphs(config, get_method("ragformer"), samples, splits)
    seen = visible_labels(samples, {"fraud": splits.parts("fraud")["train"]}, config.split)
    found = prepare_parts(config, seen, splits, config.image, ("train", "val", "test"))
    return config, {part: one["fraud"] for part, one in found.items()}


def links(nodes: int, seed: int) -> csr_array:
    """Directed links without self-loops."""
    dense = np.random.default_rng(seed).random((nodes, nodes)) < 0.2
    np.fill_diagonal(dense, False)
    return csr_array(dense.astype(np.float32))


@geometric_only
@pytest.mark.filterwarnings("ignore:Sparse")
def test_gcn_is_two_products_with_the_normalised_matrix() -> None:
    a, b = links(12, 0), links(12, 1)
    a, b = (csr_array(((one + one.T) > 0).astype(np.float32)) for one in (a, b))
    network = get_method("gcn").layers((5, 7, 2), {"a": a, "b": b}).eval()
    x = torch.randn(12, 5)
    matrix = torch.from_numpy(((a + b).toarray() > 0) + np.eye(12))
    scale = matrix.sum(1).rsqrt()
    hat = scale[:, None] * matrix * scale
    one, two = (layer.lin.weight.double() for layer in (network.first, network.second))
    for layer in (network.first, network.second):
        torch.nn.init.normal_(layer.bias)
    hidden = (hat @ x.double() @ one.T + network.first.bias.double()).relu()
    wanted = hat @ hidden @ two.T + network.second.bias.double()
    torch.testing.assert_close(network(x).double(), wanted, atol=1e-5, rtol=1e-5)


@geometric_only
def test_rgcn_has_the_mean_of_each_relation_that_points_to_a_node() -> None:
    relations = {"a": links(12, 0), "b": links(12, 1)}
    network = get_method("rgcn").layers((5, 7, 2), relations).eval()
    for layer in (network.first, network.second):
        torch.nn.init.normal_(layer.bias)
    x_NF = torch.randn(12, 5)

    def convolved(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        total = x @ layer.root.double() + layer.bias.double()
        for index, matrix in enumerate(relations.values()):
            dense = torch.from_numpy(matrix.toarray()).double()
            total = total + dense @ x / dense.sum(1, keepdim=True).clamp(min=1) @ layer.weight[index].double()
        return total

    wanted = convolved(network.second, convolved(network.first, x_NF.double()).relu())
    torch.testing.assert_close(network(x_NF).double(), wanted, atol=1e-5, rtol=1e-5)


@geometric_only
@pytest.mark.parametrize("name", NAMES)
def test_validation_chooses_and_the_test_part_has_no_say(
    name: str, parts: tuple[Config, dict[str, PreparedRegion]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, found = parts
    monkeypatch.setattr(convolutions, "STEPS", 30)
    scores: list[float] = []

    def listen(val: PreparedRegion, logits: np.ndarray) -> float:
        scores.append(score_of(val, logits))
        return scores[-1]

    monkeypatch.setattr(convolutions, "score_of", listen)
    state = torch.get_rng_state()
    fitted = get_method(name).fit(config, found["train"], found["val"], ignore)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(scores) == 6
    assert score_of(found["val"], fitted.logits(found["val"])) == max(scores)
    assert (fitted.exposure.optimiser_steps, fitted.exposure.images) == (30, 30 * len(found["train"]))
    test, train = found["test"], found["train"]
    logits = fitted.logits(test)
    assert logits.shape == (len(test), 2)
    assert np.array_equal(fitted.logits(test.take([3, 1])), logits[[3, 1]])
    graph = test.places.graph
    labels = graph.labels_N.copy()
    labels[np.concatenate([found[part].places.rows for part in ("val", "test")])] = -1
    hidden = GraphPlaces(graph=replace(graph, labels_N=labels), rows=train.places.rows)
    again = get_method(name).fit(config, replace(train, places=hidden), found["val"], ignore)
    assert np.array_equal(again.logits(test), logits)
    other = get_method(name).fit(config.model_copy(update={"seed": 1}), train, found["val"], ignore)
    assert not np.array_equal(other.logits(test), logits)


@geometric_only
@pytest.mark.parametrize("name", NAMES)
def test_a_fit_ends_when_validation_gains_nothing(
    name: str, parts: tuple[Config, dict[str, PreparedRegion]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, found = parts
    monkeypatch.setattr(convolutions, "PATIENCE", 15)
    monkeypatch.setattr(convolutions, "score_of", lambda val, logits: 0.5)
    assert get_method(name).fit(config, found["train"], found["val"], ignore).exposure.optimiser_steps == 5 + 15


@geometric_only
@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize("name", NAMES)
def test_an_earlier_node_sees_no_later_one(name: str) -> None:
    graph = replace(small_graph(keys=True), times_N=np.arange(24.0))
    torch.manual_seed(0)
    network = get_method(name).layers((3, 32, 2), graph_links(graph, timed=True)).eval()
    x = torch.randn(24, 3, requires_grad=True)
    network(x)[10].sum().backward()
    assert x.grad[10].any()
    assert x.grad[8].any()
    assert not x.grad[11:].any()


@geometric_only
def test_layers_cost_what_their_links_and_weights_cost() -> None:
    graph: Graph = small_graph()
    found = graph_links(graph, timed=False)
    total = {name: matrix.nnz for name, matrix in found.items()}
    sizes = (3, 4, 2)
    union = (found["user"] + found["shop"]).nnz
    assert get_method("gcn").macs(sizes, found) == 3 * 4 + 4 * 2 + round((union / 24 + 1) * 6)
    assert get_method("rgcn").macs(sizes, found) == 3 * (3 * 4 + 4 * 2) + round(sum(total.values()) / 24 * 7)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_library_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric.nn", None)
    with pytest.raises(MissingRuntimeError, match=r'need torch-geometric.*pip install "lorkit\[graph\]"'):
        get_method(name).notices(Config(regions={"a": {"data": "x"}}))


def test_torch_geometric_is_imported_where_it_is_used() -> None:
    lines = Path(convolutions.__file__).read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if line.startswith(("import torch_geometric", "from torch_geometric"))]
