"""The resolved input of nodes, and the inputs of samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_graphs import small_graph

from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.config.graphs import GraphConfig
from lorkit.decompose.data.node_samples import NodeSamples, node_samples
from lorkit.decompose.data.prepared import prepare
from lorkit.decompose.data.preprocessing.nodes import resolve_nodes
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import DataError

CONFIG = RegionConfig(data=("here",))
TRAINING = np.arange(0, 12)


def samples_of(*, keys: bool = False, timed: bool = False) -> NodeSamples:
    graph = small_graph(keys=keys)
    graph = replace(graph, times_N=np.arange(24.0)) if timed else graph
    return node_samples("fraud", CONFIG, graph).seen_from(TRAINING)


def recipe_of(samples: NodeSamples, settings: GraphConfig | None = None) -> Recipe:
    nodes = resolve_nodes(samples, settings or GraphConfig(), TRAINING)
    return build_recipe(ImageConfig.of_nodes(nodes.shape), CONFIG.model_copy(update={"nodes": nodes}))


def test_edges_have_two_hops_and_shared_keys_one() -> None:
    edges, keys = (resolve_nodes(samples_of(keys=keys), GraphConfig(), TRAINING) for keys in (False, True))
    assert (edges.hops, edges.keys, edges.shape) == (2, False, (4, 2, 3, 4))
    assert (keys.hops, keys.keys, keys.shape) == (1, True, (4, 2, 2, 4))
    assert resolve_nodes(samples_of(), GraphConfig(hops=3), TRAINING).hops == 3
    assert resolve_nodes(samples_of(keys=True, timed=True), GraphConfig(), TRAINING).timed


def test_the_scaling_is_that_of_the_training_part() -> None:
    samples = samples_of()
    nodes = resolve_nodes(samples, GraphConfig(scaling="standard"), TRAINING)
    np.testing.assert_allclose(nodes.mean, samples.graph.features_NF[:12].mean(0), rtol=1e-5)
    np.testing.assert_allclose(nodes.std, samples.graph.features_NF[:12].std(0), rtol=1e-5)


def test_prepared_nodes_have_the_shape_of_the_recipe() -> None:
    samples = samples_of()
    recipe = recipe_of(samples, GraphConfig(scaling="standard"))
    found = prepare(samples, recipe, indices=[3, 14])
    assert found.images.shape == (2, *recipe.shape) == (2, 4, 2, 3, 4)
    assert (found.ids, found.labels.tolist()) == (("n3", "n14"), [1, 0])
    own = (samples.graph.features_NF[[3, 14]] - recipe.nodes.mean) / recipe.nodes.std  # type: ignore[union-attr]
    np.testing.assert_allclose(found.images[:, 2, 0, 0, :3], own, rtol=1e-5, atol=1e-6)
    # neighbours by `user` are the nodes beside: 13 and 15 are of no training part, 2 and 4 are training nodes of `no`
    sizes = np.expm1(found.images[:, :, 0, 1, 3])
    np.testing.assert_allclose(sizes[:, :3], [[2, 0, 1], [0, 0, 3]], atol=1e-5)


def test_a_training_node_does_not_see_its_fold() -> None:
    samples = samples_of()
    plain, folded = (prepare(samples, recipe_of(samples), folds=folds).images for folds in (0, 2))
    counts = [np.expm1(images[:, :2, :, 1:, 3]).sum() for images in (plain, folded)]
    assert 0 < counts[1] < counts[0]
    np.testing.assert_allclose(
        np.expm1(plain[:, :3, :, 1:, 3]).sum(1), np.expm1(folded[:, :3, :, 1:, 3]).sum(1), rtol=1e-5
    )


def test_another_graph_is_refused() -> None:
    samples = samples_of()
    recipe = recipe_of(samples)
    other = replace(samples, graph=replace(samples.graph, feature_names=("a", "b", "x")))
    with pytest.raises(DataError, match=r"required: .* in this order: relations user, shop and 3 features \(a, b, c\)"):
        prepare(other, recipe)
    image = build_recipe(ImageConfig(), CONFIG)
    with pytest.raises(DataError, match="images"):
        prepare(samples, image)


def test_a_network_of_earlier_nodes_needs_times() -> None:
    samples = samples_of(keys=True, timed=True)
    recipe = recipe_of(samples)
    prepare(samples, recipe)
    untimed = replace(samples, graph=replace(samples.graph, times_N=None))
    with pytest.raises(DataError, match="has no times, and the network was trained on nodes that see earlier ones"):
        prepare(untimed, recipe)


def test_times_of_another_form_are_refused() -> None:
    """The delay of labels would be of another unit."""
    samples = samples_of(keys=True, timed=True)
    dated, numbered = (replace(samples, graph=replace(samples.graph, time_form=form)) for form in ("dates", "numbers"))
    recipe = recipe_of(dated)
    assert recipe.nodes is not None
    assert recipe.nodes.times == "dates"
    prepare(dated, recipe)
    with pytest.raises(DataError, match="are numbers, and the network was trained on dates"):
        prepare(numbered, recipe)
