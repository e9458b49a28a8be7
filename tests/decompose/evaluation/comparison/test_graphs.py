"""`compare` on graphs: one table of trees, perceptrons and RAGFormers on the same nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_graphs import graph_config
from small_runs import small_config

from lorkit.decompose.artifacts import load_tensors, read_json
from lorkit.decompose.config import Config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import OF_GRAPHS, compared_methods
from lorkit.decompose.evaluation.comparison.comparison import compare
from lorkit.decompose.events import Event, Notice, Started
from lorkit.decompose.methods.graphs import convolutions, trees
from lorkit.decompose.metrics import node

pytest.importorskip("sklearn")
pytest.importorskip("torch_geometric")
METHODS = ("trees-tokens", "mlp-own", "gcn", "rgcn", "gaga", "ragformer", "ragformer-no-mixing")


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "ITERATIONS", 5)
        patch.setattr(convolutions, "STEPS", 10)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def config(root: Path) -> Config:
    return graph_config(root)


@pytest.fixture(scope="module")
def document(root: Path, config: Config) -> dict[str, Any]:
    return compare(config, methods=METHODS, seeds=[0, 1], out=root / "comparisons").to_json()


def test_every_method_is_a_row_with_a_drop_from_the_trees(document: dict[str, Any]) -> None:
    assert document["metric"] == "ap"
    table = {row["label"]: row for row in document["table"]}
    assert tuple(table) == METHODS
    assert [pair["candidate"] for pair in document["compared_pairs"][: len(METHODS) - 1]] == list(METHODS[1:])
    for pair in document["compared_pairs"]:
        found = pair["regions"]["fraud"]
        assert found["drop"] == pytest.approx(table[pair["baseline"]]["ap"] - table[pair["candidate"]]["ap"])
        assert found["ci"][0] <= found["drop"] <= found["ci"][1]
    for row in document["rows"]:
        assert {"auroc", "ap", "f1_macro", "gmean", "recall_at_k"} <= set(row["regions"]["fraud"]["ci"])
    for label, row in table.items():
        own = [one["regions"]["fraud"]["auroc"] for one in document["rows"] if one["label"] == label]
        assert row["auroc"] == pytest.approx(np.mean(own))
        assert bool(row["exposure"]) == (label != "trees-tokens")
    assert document["foundation"] is None
    assert (table["gaga"]["parameters"], table["ragformer-no-mixing"]["parameters"]) < (
        table["ragformer-no-mixing"]["parameters"],
        table["ragformer"]["parameters"],
    )
    arms = {arm["label"]: arm for arm in document["arms"]}
    assert arms["ragformer-no-mixing"]["method"] == "ragformer"
    (setting,) = arms["ragformer-no-mixing"]["settings"]
    assert setting == "student.backbone=ragformer:width=8,feedforward=8,layers=1,heads=2,mixing=false"


def test_thresholds_are_those_of_validation(root: Path, config: Config, document: dict[str, Any]) -> None:
    with np.load(root / "fraud.npz") as data:
        label = {part: data["labels"][data[f"{part}_mask"]] for part in ("valid", "test")}
    for path in (root / "comparisons").glob("*/cells/*"):
        head = read_json(path / "cell.json")["head"]
        if head["method"] == "ragformer":  # several labels
            continue
        val, test = (load_tensors(path / f"evidence-{part}.safetensors")["fraud"].numpy() for part in ("val", "test"))
        temperature, chosen = node.choose(label["valid"], val, "f1")
        answers = node.answers(test, chosen.threshold, temperature)
        rows = {(row["label"], row["seed"]): row["regions"]["fraud"] for row in document["rows"]}
        right = (answers == label["test"]).mean()
        assert rows[head["method"], head["seed"]]["accuracy"] == pytest.approx(right)


def test_finished_cells_are_read_again(root: Path, config: Config, document: dict[str, Any]) -> None:
    heard: list[Event] = []
    again = compare(config, methods=METHODS[:3], seeds=[1], out=root / "comparisons", on_event=heard.append).to_json()
    assert again["rows"] == document["rows"][len(METHODS) : len(METHODS) + 3]
    assert not [event for event in heard if isinstance(event, Started)]
    assert not [event for event in heard if isinstance(event, Notice) and "fits" in event.text]
    (path,) = (root / "comparisons").glob("*/comparison.json")
    assert len(json.loads(path.read_text())["rows"]) == 2 * len(METHODS)


def test_what_graphs_do_not_have_is_refused(root: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--fractions 0.5 of graphs; required: 1, because neighbours"):
        compare(config, methods=["trees-own"], fractions=[0.5], out=tmp_path)
    with pytest.raises(UsageError, match=r"--variant x changes graph\.hops"):
        compare(config, methods=["trees-own"], variants=["x:ragformer:graph.hops=1"], out=tmp_path)
    with pytest.raises(UsageError, match=r"unknown method 'ragformer-no-mixin'.*did you mean 'ragformer-no-mixing'"):
        compare(config, methods=["ragformer-no-mixin"], out=tmp_path)
    for name in ("trees-tokens", "ragformer-no-fusion"):
        with pytest.raises(UsageError, match="for images; required: regions that are graphs"):
            compare(small_config(tmp_path, backbone="resnet18"), methods=[name], out=tmp_path)
    assert not list(tmp_path.glob("*/cells"))


def test_a_fit_with_other_constants_is_another_cell(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("trees-own", "gcn", "ragformer")
    before = [one.digest for one in compared_methods(config, names)]
    monkeypatch.setattr(trees, "LEARNING_RATE", 0.5)
    monkeypatch.setattr(convolutions, "WIDTH", 8)
    after = [one.digest for one in compared_methods(config, names)]
    assert [one == two for one, two in zip(before, after, strict=True)] == [False, False, True]
    assert [one.label for one in compared_methods(config, None)] == list(OF_GRAPHS)
