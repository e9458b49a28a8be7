"""Graph convolutions on the whole graph: GCN on all links alike, and RGCN with weights for each relation.

GCN: Kipf and Welling, "Semi-supervised classification with graph convolutional networks", ICLR 2017. RGCN:
Schlichtkrull et al., "Modeling relational data with graph convolutional networks", ESWC 2018. The layers are those of
torch-geometric, which comes with the extra `graph` and is imported where it is used. Every step reads the whole graph,
on the CPU; its loss is that of the training nodes. Neighbours' labels are no input.

Shapes: N nodes of the graph, F features, H hidden width, C classes, E links.
"""

from __future__ import annotations

import copy
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import Config
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.documents.compare import Exposure
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.methods.graphs.base import FittedBaseline, FittedNodes, score_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

WIDTH, DROPOUT = 64, 0.5
LEARNING_RATE, WEIGHT_DECAY = 0.01, 5e-4
# validated every `EVERY` steps; the last of `PATIENCE` steps without a better score is the end
STEPS, EVERY, PATIENCE = 500, 5, 100


class TwoLayers(nn.Module):
    """Two convolutions with a ReLU and dropout between them.

    Args:
        first: F to H.
        second: H to C.
        links: Their arguments after the features.
    """

    def __init__(self, first: nn.Module, second: nn.Module, links: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.first, self.second, self.links = first, second, links

    def forward(self, x_NF: Tensor) -> Tensor:
        """Map features (N, F) to logits (N, C)."""
        hidden_NH = self.first(dropout(x_NF, DROPOUT, self.training), *self.links).relu()
        return cast(Tensor, self.second(dropout(hidden_NH, DROPOUT, self.training), *self.links))


class Convolutions(FittedBaseline):
    """Two layers of convolutions on the features of all nodes; validation chooses the step."""

    @abstractmethod
    def layers(self, sizes: tuple[int, int, int], links: Mapping[str, csr_array]) -> TwoLayers:
        """Build the network with fresh weights.

        Args:
            sizes: F, H and C.
            links: By relation, (N, N); row v holds the nodes with a link to v.
        """

    @abstractmethod
    def macs(self, sizes: tuple[int, int, int], links: Mapping[str, csr_array]) -> int:
        """Return the multiply-accumulates of one node, with its share of the links."""

    def notices(self, config: Config) -> list[str]:
        """Return nothing; raise MissingRuntimeError if torch-geometric is not installed."""
        load_layers()
        return []

    def constants(self) -> dict[str, Any]:
        """Return the sizes, the optimiser and the number of steps."""
        from lorkit.decompose.data.graphs.links import LINKS

        return {
            "width": WIDTH,
            "dropout": DROPOUT,
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
            "steps": (STEPS, EVERY, PATIENCE),
            "links": LINKS,
        }

    def fit(self, config: Config, train: PreparedRegion, val: PreparedRegion, on_event: Listener) -> FittedNodes:
        """Fit the network to the labels of the training nodes on the whole graph."""
        x_NF, links = _inputs(train)
        sizes = (x_NF.shape[1], WIDTH, len(train.region.classes))
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
            torch.manual_seed(config.seed)
            network = self.layers(sizes, links)
            steps, logits_NC = _train(network, x_NF, train, val, on_event)
        values = [value.numel() for value in network.parameters()]
        return FittedNodes(
            logits=lambda part: logits_NC[_rows(part)],
            parameters=sum(values),
            macs=self.macs(sizes, links),
            size=4 * sum(values),
            exposure=Exposure(optimiser_steps=steps, images=steps * len(train)),
        )


class Gcn(Convolutions):
    """`gcn`: one convolution over the links of all relations."""

    name = "gcn"

    def layers(self, sizes: tuple[int, int, int], links: Mapping[str, csr_array]) -> TwoLayers:
        """Build two `GCNConv`."""
        features, width, classes = sizes
        geometric = load_layers()
        first = geometric.GCNConv(features, width, cached=True)
        second = geometric.GCNConv(width, classes, cached=True)
        return TwoLayers(first, second, (_sparse(_union(links)),))

    def macs(self, sizes: tuple[int, int, int], links: Mapping[str, csr_array]) -> int:
        """Return the multiply-accumulates of one node: dense layers, then sums over its links and itself."""
        features, width, classes = sizes
        union = _union(links)
        summed: float = (union.nnz / union.shape[0] + 1) * (width + classes)
        return features * width + width * classes + round(summed)


class Rgcn(Convolutions):
    """`rgcn`: a convolution with own weights for each relation, and for the node itself."""

    name = "rgcn"

    def layers(self, sizes: tuple[int, int, int], links: Mapping[str, csr_array]) -> TwoLayers:
        """Build two `RGCNConv` in plain form."""
        features, width, classes = sizes
        geometric = load_layers()
        first = geometric.RGCNConv(features, width, len(links))
        second = geometric.RGCNConv(width, classes, len(links))
        edges = [np.stack([matrix.tocoo().col, matrix.tocoo().row]) for matrix in links.values()]
        types = [np.full(matrix.nnz, index) for index, matrix in enumerate(links.values())]
        ends_2E = torch.from_numpy(np.concatenate(edges, axis=1).astype(np.int64))
        return TwoLayers(first, second, (ends_2E, torch.from_numpy(np.concatenate(types).astype(np.int64))))

    def macs(self, sizes: tuple[int, int, int], links: Mapping[str, csr_array]) -> int:
        """Return the multiply-accumulates of one node: means over its links, then dense layers of each relation."""
        features, width, classes = sizes
        nodes = next(iter(links.values())).shape[0]
        summed: float = sum(matrix.nnz for matrix in links.values()) / nodes * (features + width)
        return (len(links) + 1) * (features * width + width * classes) + round(summed)


def load_layers() -> Any:
    """Return the module of the layers; raise MissingRuntimeError if torch-geometric is not installed."""
    try:
        import torch_geometric.nn
    except ImportError:
        raise MissingRuntimeError(
            "graph convolutions need torch-geometric, which is not installed",
            required="the extra 'graph'",
            fix='pip install "lorkit[graph]"',
        ) from None
    return torch_geometric.nn


def _inputs(part: PreparedRegion) -> tuple[Tensor, dict[str, csr_array]]:
    """Return the scaled features (N, F) of all nodes of a part's graph, and its links by relation."""
    from lorkit.decompose.data.graphs.links import graph_links  # with SciPy, which other methods do not need
    from lorkit.decompose.data.graphs.scaling import FeatureScaling

    nodes = part.recipe.nodes
    assert nodes is not None  # of graphs
    assert part.places is not None
    graph = part.places.graph
    features_NF = FeatureScaling.of(nodes).apply(graph.features_NF)
    return torch.from_numpy(features_NF), graph_links(graph, timed=nodes.timed)


def _rows(part: PreparedRegion) -> Any:
    assert part.places is not None  # of graphs
    return part.places.rows


def _union(links: Mapping[str, csr_array]) -> csr_array:
    """Return the links of any relation, (N, N) ones."""
    from scipy.sparse import csr_array

    found = csr_array(reduce(lambda one, other: one + other, links.values()))
    return csr_array((np.ones_like(found.data), found.indices, found.indptr), shape=found.shape)


def _sparse(matrix: csr_array) -> Tensor:
    starts, columns = (torch.from_numpy(one.astype(np.int64)) for one in (matrix.indptr, matrix.indices))
    return torch.sparse_csr_tensor(starts, columns, torch.from_numpy(matrix.data), size=matrix.shape)


def _train(
    network: TwoLayers, x_NF: Tensor, train: PreparedRegion, val: PreparedRegion, on_event: Listener
) -> tuple[int, Float32Array]:
    """Train in place; return the steps and the logits (N, C) of all nodes with the best weights, which are kept."""
    rows, labels = torch.from_numpy(_rows(train)), torch.from_numpy(train.labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, best_step, step = -1.0, 0, 0
    weights, logits_NC = copy.deepcopy(network.state_dict()), np.zeros((0, 0), dtype=np.float32)
    while step < STEPS and step - best_step < PATIENCE:
        network.train()
        optimizer.zero_grad()
        cross_entropy(network(x_NF)[rows], labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        step += 1
        if step % EVERY:
            continue
        found_NC = _logits(network, x_NF)
        score = score_of(val, found_NC[_rows(val)])
        if score > best:
            best, best_step, logits_NC = score, step, found_NC
            weights = copy.deepcopy(network.state_dict())
        on_event(Working(f"graph convolutions of {train.region.name}", step, STEPS))
    network.load_state_dict(weights)
    on_event(Working(f"graph convolutions of {train.region.name}", STEPS, STEPS))
    return step, logits_NC


@torch.no_grad()
def _logits(network: TwoLayers, x_NF: Tensor) -> Float32Array:
    found: Float32Array = network.eval()(x_NF).numpy()
    return found


METHODS = (Gcn(), Rgcn())
