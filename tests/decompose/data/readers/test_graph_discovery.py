"""Graphs among files: whatever table is found gives a configuration that reads and splits, or a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from small_graphs import small_graph, write_graph, write_payments

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.graphs.graph import Keys
from lorkit.decompose.data.readers.graph_discovery import common_split, find_graph
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.splits import split_regions
from lorkit.decompose.errors import DataError, LorkitError


def test_a_table_with_time_is_split_by_time(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    found = find_graph("payments", write_payments(tmp_path / "p.csv"))
    assert found.settings == {
        "relations": ["user", "shop"], "time": "time", "label": "is_fraud", "classes": ["0", "1"],
    }  # fmt: skip
    assert common_split([found.graph]) == (SplitConfig(by="temporal"), ())
    found = find_graph("payments", write_payments(tmp_path / "p.csv", timed=False))
    assert common_split([found.graph]) == (SplitConfig(by="entity", entities=("user",)), ())
    stated = np.array(["train", "val", "test"])[np.arange(200) % 7 % 3]
    found = find_graph("payments", write_payments(tmp_path / "p.csv", split=stated))
    assert common_split([found.graph])[0] == SplitConfig()


def test_a_split_that_is_not_possible_is_said(tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    fraud = np.zeros(200, dtype=int)
    fraud[:30] = 1  # none in the latest rows
    found = find_graph("payments", write_payments(tmp_path / "p.csv", is_fraud=fraud))
    split, refused = common_split([found.graph])
    assert split.by == "entity"
    assert refused == ("split temporal is not possible: class '1' has no node in the val part",)


def test_files_with_edges_keep_their_parts(tmp_path: Path) -> None:
    found = find_graph("fraud", write_graph(tmp_path / "one.npz"))
    assert (found.settings, found.columns) == ({"relations": ["user", "shop"]}, ())
    assert common_split([found.graph]) == (SplitConfig(), ())
    found = find_graph("fraud", write_graph(tmp_path / "one.npz", parts=False))
    assert common_split([found.graph]) == (SplitConfig(by="random"), ())
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "two.npz",
        node_features=rng.normal(size=(60, 3)).astype(np.float32),
        node_labels=np.arange(60) % 2,
        edges=np.stack([np.arange(59), np.arange(1, 60)], axis=1),
        **{f"{part}_masks": np.arange(60)[None] % 3 == at for at, part in enumerate(("train", "val", "test"))},
    )
    found = find_graph("workers", tmp_path / "two.npz")
    assert found.settings == {"relations": ["edges"]}
    assert common_split([found.graph])[0] == SplitConfig()


def test_the_published_layout_of_a_mat(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nets = {f"net_{name}": (rng.random((60, 60)) < 0.05).astype(float) for name in ("rur", "rtr", "rsr")}
    features, label = rng.random((60, 4)), (np.arange(60) % 4 == 0).astype(float)[None]
    savemat(tmp_path / "Yelp.mat", {"features": features, "label": label, "homo": sum(nets.values()), **nets})
    found = find_graph("yelp", tmp_path / "Yelp.mat")
    assert found.settings == {"relations": ["rur", "rtr", "rsr"]}
    assert common_split([found.graph])[0].by == "random"
    with pytest.raises(DataError, match="--label x"):
        find_graph("yelp", tmp_path / "Yelp.mat", label="x")


def test_graphs_of_too_few_labels_are_refused_with_every_reason(tmp_path: Path) -> None:
    write_graph(tmp_path / "g.npz", parts=False)
    with np.load(tmp_path / "g.npz") as arrays:
        kept = dict(arrays)
    kept["labels"] = np.arange(120) // 119
    np.savez(tmp_path / "g.npz", **kept)
    with pytest.raises(DataError, match=r"no split gives every part its classes \(split random .*; split neighbour "):
        find_graph("g", tmp_path / "g.npz")


def test_a_split_is_one_that_all_graphs_allow() -> None:
    keys, edges = small_graph(nodes=60, keys=True), small_graph(nodes=60)
    split, refused = common_split([keys, edges])
    assert split.by == "random"
    assert all(text.startswith("split entity of ") for text in refused)
    assert isinstance(keys.relations["user"], Keys)


@st.composite
def odd_tables(draw: st.DrawFn) -> dict[str, list[str]]:
    """Return columns of any cells: few or many values, numbers, texts, dates, empty, constant, in any order."""
    rows = draw(st.sampled_from([12, 40, 90]))
    kinds = st.sampled_from(["few", "many", "number", "whole", "date", "constant", "binary", "mixed", "order"])
    names = st.sampled_from(
        ["id", "user", "card_id", "amount", "time", "date", "is_fraud", "label", "x", "y z", "split", "count: a", "'q'"]
    )
    columns: dict[str, list[str]] = {}
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    for name in draw(st.lists(names, min_size=2, max_size=7, unique=True)):
        kind = draw(kinds)
        cells = {
            "few": [f"v{number}" for number in rng.integers(0, 5, rows)],
            "many": [f"v{number}" for number in rng.integers(0, rows // 3, rows)],
            "number": [f"{number:.3f}" for number in rng.normal(size=rows)],
            "whole": [str(number) for number in rng.integers(0, rows // 2, rows)],
            "date": [f"2024-01-{day:02d}" for day in rng.integers(1, 29, rows)],
            "constant": ["7"] * rows,
            "binary": [str(number) for number in rng.integers(0, 2, rows)],
            "mixed": [("a", "1", "2.5", "2024-01-01")[number] for number in rng.integers(0, 4, rows)],
            "order": [str(row) for row in range(rows)],
        }[kind]
        if draw(st.booleans()) and kind != "order":
            cells = ["" if empty else cell for empty, cell in zip(rng.random(rows) < 0.1, cells, strict=True)]
        columns[name] = cells
    return columns


@settings(max_examples=60, deadline=None)
@given(odd_tables())
def test_whatever_table_is_found_reads_and_splits(tmp_path_factory: Any, columns: dict[str, list[str]]) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    path = tmp_path_factory.mktemp("odd") / "t.csv"
    lines = [";".join(columns), *(";".join(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("\n".join(lines), encoding="utf-8")
    refusal = ""
    try:
        found = find_graph("t", path)
        split, _ = common_split([found.graph])
    except LorkitError as error:
        refusal = str(error)
    if refusal:
        assert "\n" not in refusal
        return
    assert {one.name for one in found.columns} == set(columns)
    text = yaml.safe_dump({"data": str(path), **found.settings})
    samples = read_region("t", RegionConfig.model_validate(yaml.safe_load(text)), base=path.parent)
    parts = split_regions({"t": samples}, split, seed=0).parts("t")
    assert min(map(len, parts.values())) > 0
    assert set(samples.graph.relations) == set(found.settings["relations"])  # type: ignore[attr-defined, call-overload]


def test_real_files(data_root: Path) -> None:
    fraud = data_root / "fraud"
    found = find_graph("workers", fraud / "tolokers.npz")
    assert (found.settings, common_split([found.graph])[0]) == ({"relations": ["edges"]}, SplitConfig())
    found = find_graph("companies", data_root / "second" / "fraud" / "fdcompcn.npz")
    assert found.settings == {"relations": ["invest", "supplier", "customer"]}
    assert common_split([found.graph])[0] == SplitConfig()
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    found = find_graph("payments", fraud / "S-FFSD.csv")
    assert found.settings == {
        "relations": ["Source", "Target", "Location", "Type"], "time": "Time", "label": "Labels", "classes": ["0", "1"],
    }  # fmt: skip
    assert common_split([found.graph])[0] == SplitConfig(by="temporal")
    assert found.notes[0].startswith("2 of Labels")
