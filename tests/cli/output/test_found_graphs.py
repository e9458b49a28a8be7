"""Graphs that were found, as YAML, as lines and as JSON."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_graphs import write_graph, write_payments

from lorkit.cli.output.found_graphs import GraphsFound
from lorkit.decompose.data.readers.discovery import discover


def test_without_graphs_there_is_nothing_to_say() -> None:
    found = GraphsFound.of([])
    assert (found.graphs, found.split, found.lines(), found.to_json()) == ({}, None, [], {})


def test_files_with_edges_have_relations_and_a_split(tmp_path: Path) -> None:
    found = GraphsFound.of(discover(write_graph(tmp_path / "fraud.npz")))
    assert found.lines() == ["split: the parts that the file states"]
    assert yaml.safe_load(found.settings({"fraud": "fraud.npz"})) == {
        "regions": {"fraud": {"data": "fraud.npz", "relations": ["user", "shop"]}}
    }
    assert found.to_json() == {"columns": {"fraud": []}, "notes": [], "proposed_split": {"by": "group", "entities": []}}


def test_entities_with_signs_of_yaml_are_quoted(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    users = [f"u{row % 50}" for row in range(200)]
    found = GraphsFound.of(discover(write_payments(tmp_path / "p.csv", timed=False, user=None, **{"user: id": users})))
    assert yaml.safe_load(found.entities) == ["user: id"]
    assert found.lines()[-1] == "split: by user: id: no key of the test part is in training"
    assert len(found.lines()) == len(found.graphs["p"].columns) + 1
