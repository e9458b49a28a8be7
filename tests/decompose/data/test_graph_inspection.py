"""Inspection of graphs: relations, and what each possible split leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_graphs import graph_config, small_graph

from lorkit.cli.main import run_command_line
from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.config.graphs import GraphConfig
from lorkit.decompose.data.contact_sheet import contact_sheet
from lorkit.decompose.data.graph_inspection import inspect_graph
from lorkit.decompose.data.graphs.graph import Graph, Keys, build_edges
from lorkit.decompose.data.inspection import inspect
from lorkit.decompose.data.node_samples import node_samples
from lorkit.decompose.errors import UsageError


def inspected(graph: Graph, split: SplitConfig | None = None):  # type: ignore[no-untyped-def]
    samples = node_samples("fraud", RegionConfig(data=("here",)), graph)
    return inspect_graph(samples, split or SplitConfig(), GraphConfig()).to_json()


def test_relations_are_counted() -> None:
    edges = inspected(small_graph(nodes=120))
    assert (edges["nodes"], edges["labelled"], edges["features"], edges["timed"]) == (120, 119, ["a", "b", "c"], False)
    assert edges["relation_facts"]["user"] == {"kind": "edges", "edge_count": 2 * 119, "key_count": None, "alone": 0.0}
    graph = small_graph(nodes=120, keys=True)
    keys = np.arange(120) // 2
    keys[:3] = (-1, 118, 119)
    graph = replace(graph, relations={"user": Keys(keys, tuple(map(str, range(120))))})
    # node 0 has no key, 1, 2 and 3 have one of their own
    assert inspected(graph)["relation_facts"]["user"] == {
        "kind": "keys", "edge_count": None, "key_count": 61, "alone": pytest.approx(4 / 120)
    }  # fmt: skip


def test_every_possible_split_states_its_leakage() -> None:
    graph = replace(small_graph(nodes=120, keys=True), times_N=np.arange(120.0))
    splits = inspected(graph, SplitConfig(by="temporal"))["splits"]
    assert {kind: row["chosen"] for kind, row in splits.items()} == {"random": False, "entity": False, "temporal": True}
    assert splits["temporal"]["parts"] == {"train": 48, "val": 11, "test": 60}
    assert splits["entity"]["leakage"][0] == {"relation": "user", "hops": 1, "exposed": 0.0, "right": None}
    assert splits["random"]["leakage"][0]["exposed"] > 0  # type: ignore[operator]


def test_labels_that_are_not_known_yet_are_no_leak() -> None:
    graph = replace(small_graph(nodes=120, keys=True), times_N=np.arange(120.0))  # keys are shared by two or three
    samples = node_samples("fraud", RegionConfig(data=("here",)), graph)
    exposed = []
    for delay in (0, 1, 1.5, 3):
        split = inspect_graph(samples, SplitConfig(), GraphConfig(label_delay=delay)).to_json()["splits"]["random"]
        exposed.append([row["exposed"] for row in split["leakage"]])
    assert exposed[0] == exposed[1]
    assert 0 == exposed[2][0] < exposed[1][0]  # type: ignore[operator] - of two rows one is a step of time earlier
    assert 0 < exposed[2][1] < exposed[1][1]  # type: ignore[operator] - of three one is two steps earlier
    assert exposed[3] == [0, 0]


def test_edges_have_a_row_for_every_hop_that_nodes_see() -> None:
    graph = small_graph(nodes=120)
    near = build_edges(np.arange(119), np.arange(1, 120), 120, where="g", undirected=True)[0]
    found = inspected(replace(graph, relations={"next": near}))
    assert found["hops"] == 2
    splits = found["splits"]
    assert [(row["relation"], row["hops"]) for row in splits["random"]["leakage"]] == [("next", 1), ("next", 2)]
    one, two = (row["exposed"] for row in splits["random"]["leakage"])
    assert 0 < one < two
    assert [row["exposed"] for row in splits["neighbour"]["leakage"]] == [0.0, 0.0]
    (apart,) = (
        inspected(replace(graph, relations={"next": near}), SplitConfig(by="neighbour", hops=1))["splits"]["neighbour"],
    )
    assert [row["exposed"] for row in apart["leakage"]] == [0.0, pytest.approx(2 / apart["parts"]["test"], abs=0.03)]


def test_a_split_that_lacks_a_class_says_so() -> None:
    graph = small_graph(nodes=120)
    labels = np.zeros(120, dtype=np.int64)
    labels[:4] = 1
    splits = inspected(replace(graph, labels_N=labels))["splits"]
    refused = [row for row in splits.values() if row["refused_because"] is not None]
    assert refused
    assert all(row["parts"] == {} and row["leakage"] == [] for row in refused)


def test_the_verb_shows_relations_and_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = graph_config(tmp_path)
    document = inspect(config).to_json()
    assert document["loader"] == {"images_per_second": None, "prepared_per_second": None}
    assert document["regions"]["fraud"]["split"] == "stated"
    assert list(document["regions"]["fraud"]["graph"]["splits"]) == ["stated", "random", "neighbour"]
    assert run_command_line(["data", str(tmp_path / "decompose.yaml")]) == 0
    told = capsys.readouterr()
    shown = told.out + told.err
    assert "fraud: 120 nodes, 120 with a label" in shown
    assert "stated *" in shown
    assert run_command_line(["data", str(tmp_path / "decompose.yaml"), "--sheet", str(tmp_path / "x.png")]) == 2
    assert "which are graphs" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()


def test_nodes_have_no_contact_sheet(tmp_path: Path) -> None:
    samples = {"fraud": node_samples("fraud", RegionConfig(data=("here",)), small_graph())}
    with pytest.raises(UsageError, match="a contact sheet of fraud"):
        contact_sheet(samples, tmp_path / "x.png")
