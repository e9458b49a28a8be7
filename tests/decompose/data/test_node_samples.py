"""Labelled nodes of a graph as samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from small_graphs import small_graph

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.graphs.graph import NO_KEY, Edges, Graph, Keys
from lorkit.decompose.data.node_samples import NodeSamples, node_samples, nodes_of, split_notices, visible_labels
from lorkit.decompose.data.splits import split_regions
from lorkit.decompose.errors import DataError, UsageError

CONFIG = RegionConfig(data=("here",))


def samples_of(graph: Graph) -> NodeSamples:
    return node_samples("fraud", CONFIG, graph)


def test_labelled_nodes_are_samples_and_all_are_neighbours() -> None:
    graph = small_graph()
    found = samples_of(graph)
    assert (len(found), len(found.graph)) == (23, 24)
    assert found.region.task == "node"
    assert found.ids == graph.ids[:23]
    assert found.target(1) == "yes"
    assert len(set(found.digests)) == 23
    assert nodes_of({"a": found}) == {"a": found}


def test_only_labels_of_the_training_part_are_visible() -> None:
    found = samples_of(small_graph())
    with pytest.raises(UsageError, match="without a split"):
        found.visible()
    seen = found.seen_from(np.array([0, 3]))
    assert seen.visible().tolist() == [0, -1, -1, 1, *[-1] * 20]
    both = visible_labels({"fraud": found}, {"fraud": np.array([1])}, SplitConfig())
    assert isinstance(both["fraud"], NodeSamples)
    assert np.flatnonzero(both["fraud"].visible() >= 0).tolist() == [1]


def changed(graph: Graph, what: str) -> Graph:
    features, labels = graph.features_NF.copy(), graph.labels_N.copy()
    features[23, 0] += 1  # of the node without a label
    labels[23] = 0
    relations = dict(graph.relations)
    relation = relations["user"]
    if isinstance(relation, Edges):
        matrix = relation.neighbours.tolil()
        matrix[0, 20] = 1
        relations["user"] = Edges(matrix.tocsr().astype(np.uint8))
    else:
        keys = relation.keys_N.copy()
        keys[0] = keys[20]
        relations["user"] = Keys(keys, relation.names)
    return {
        "features": replace(graph, features_NF=features),
        "labels": replace(graph, labels_N=labels),
        "relation": replace(graph, relations=relations),
        "order": replace(graph, relations=dict(reversed(graph.relations.items()))),
        "times": replace(graph, times_N=np.arange(24.0)),
        "names": replace(graph, feature_names=("a", "b", "d")),
    }[what]


@pytest.mark.parametrize("keys", [False, True], ids=["edges", "keys"])
@pytest.mark.parametrize("what", ["features", "labels", "relation", "order", "times", "names"])
def test_the_digest_covers_the_whole_graph(what: str, keys: bool) -> None:
    graph = small_graph(keys=keys)
    assert samples_of(graph).digest == samples_of(small_graph(keys=keys)).digest
    assert samples_of(changed(graph, what)).digest != samples_of(graph).digest


def test_a_class_without_a_node_is_named() -> None:
    graph = small_graph()
    bare = replace(graph, labels_N=np.zeros(24, dtype=np.int64))
    with pytest.raises(DataError, match="no node of yes"):
        samples_of(bare)
    assert len(node_samples("fraud", CONFIG, bare, complete=False)) == 24
    with pytest.raises(DataError, match="no node of no, yes"):
        node_samples("fraud", CONFIG, replace(graph, labels_N=np.full(24, -1)), complete=False)


def test_another_task_is_refused() -> None:
    with pytest.raises(UsageError, match="states the task 'classification'; required: node"):
        node_samples("fraud", RegionConfig(data=("here",), task="classification"), small_graph())


def test_stated_parts_can_be_left_out() -> None:
    graph = replace(small_graph(), parts=("train",) * 24)
    assert set(samples_of(graph).parts) == {"train"}
    anew = node_samples("fraud", RegionConfig(data=("here",), parts="anew"), graph)
    assert set(anew.parts) == {None}


def parts_of(samples: NodeSamples, split: SplitConfig) -> dict[str, list[int]]:
    return {
        part: indices.tolist()
        for part, indices in split_regions({"fraud": samples}, split, seed=0).parts("fraud").items()
    }


def test_stated_parts_come_first_and_random_ignores_them() -> None:
    graph = small_graph(nodes=120)
    stated = replace(graph, parts=tuple(("train", "val", "test")[node // 2 % 3] for node in range(120)))
    found = parts_of(samples_of(stated), SplitConfig())
    assert found["val"][:6] == [2, 3, 8, 9, 14, 15]
    drawn = parts_of(samples_of(stated), SplitConfig(by="random"))
    assert drawn == parts_of(samples_of(graph), SplitConfig())
    assert {part: len(indices) for part, indices in drawn.items()} == {"train": 47, "val": 11, "test": 61}


def test_entities_stay_together_and_are_the_groups_of_the_test() -> None:
    samples = samples_of(small_graph(nodes=240, keys=True))
    split = SplitConfig(by="entity", entities=("shop",))
    found = parts_of(samples, split)
    keys = {part: {node // 3 for node in samples.rows[indices]} for part, indices in found.items()}
    assert not keys["train"] & keys["test"]
    assert not keys["train"] & keys["val"]
    seen = samples.seen_from(np.array(found["train"]), split)
    assert seen.groups[:7] == ("0", "0", "0", "1", "1", "1", "2")
    apart = samples.seen_from(np.array(found["train"]), SplitConfig())
    assert apart.groups == samples.ids
    assert (seen.region.words.group, apart.region.words.group) == ("entity", "node")
    first = parts_of(samples, SplitConfig(by="entity"))
    assert (
        len({node // 2 for node in samples.rows[first["train"]]} & {node // 2 for node in samples.rows[first["test"]]})
        == 0
    )


def test_the_groups_are_the_entities_that_several_keys_join() -> None:
    graph = small_graph(nodes=24, keys=True)
    users = np.array([0, 0, 1, 2, NO_KEY, 3, *range(4, 22)])
    shops = np.array([0, 1, 1, NO_KEY, NO_KEY, NO_KEY, *range(2, 20)])
    names = tuple(str(number) for number in range(24))  # the node 4 has no key, and there is a key 4
    graph = replace(graph, relations={"user": Keys(users, names), "shop": Keys(shops, names)}, ids=names)
    samples = samples_of(graph)
    both = samples.seen_from(np.arange(12), SplitConfig(by="entity", entities=("user", "shop"))).groups
    assert len(set(both[:3])) == 1  # 0 and 1 share a user, 1 and 2 a shop
    assert len(set(both)) == 23 - 2
    one = samples.seen_from(np.arange(12), SplitConfig(by="entity")).groups
    assert one[:4] == ("0", "0", "1", "2")
    assert len(set(one)) == 23 - 1


def test_a_split_that_a_graph_does_not_allow_is_refused() -> None:
    for by, what in (("entity", "by edges"), ("temporal", "time")):
        with pytest.raises(UsageError, match=what):
            parts_of(samples_of(small_graph()), SplitConfig.model_validate({"by": by}))
    with pytest.raises(ValidationError, match=r"split.by entity with split.entities"):
        SplitConfig(entities=("shop",))


def test_nodes_beside_the_training_part_are_left_out_and_counted() -> None:
    samples = samples_of(small_graph(nodes=240))
    split = SplitConfig(by="neighbour")
    found = parts_of(samples, split)
    matrix = sum(relation.neighbours for relation in samples.graph.relations.values() if isinstance(relation, Edges))
    assert matrix[samples.rows[found["test"]]][:, samples.rows[found["train"]]].nnz == 0  # type: ignore[index]
    assert sum(map(len, found.values())) < len(samples)
    assert any("left out" in text for text in split_notices({"fraud": samples}, split))
    assert split_notices({"fraud": samples}, SplitConfig()) == []


def test_a_threshold_needs_two_classes() -> None:
    graph = small_graph()
    labels = np.arange(24) % 3
    three = replace(graph, labels_N=labels, classes=("a", "b", "c"))
    config = RegionConfig.model_validate({"data": "here", "threshold": {"cost": 20}})
    assert node_samples("fraud", config, graph).region.classes == ("no", "yes")
    with pytest.raises(UsageError, match="threshold"):
        node_samples("fraud", config, three)
