from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.artifacts import load_tensors, read_json, read_manifest
from lorkit.decompose.comparison import compare
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, Notice, Started
from lorkit.decompose.metrics import paired_drop


@pytest.fixture(scope="module")
def config(made_run: Path) -> Config:
    return load_config(made_run / "decompose.yaml", overrides=["name=small", "train.augment=null"])


@pytest.fixture(scope="module")
def compared(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("compare")
    document = compare(config, methods=["stl", "mtl", "lorkd"], seeds=[0, 1], fractions=[1.0], out=root / "comparisons")
    return root, document


def test_a_row_a_cell_with_what_it_costs(compared: tuple[Path, dict[str, Any]]) -> None:
    _, document = compared
    rows = {(row["method"], row["seed"]): row for row in document["rows"]}
    assert list(rows) == [(method, seed) for seed in (0, 1) for method in ("stl", "mtl", "lorkd")]
    for row in rows.values():
        assert set(row["regions"]) == {"chest", "knee"}
        assert {"n", "accuracy", "balanced_accuracy", "auroc", "ece", "ci"} <= set(row["regions"]["chest"])
        assert row["train_seconds"] > 0
    # all deploy one plain student a region; in training they differ
    for key in ("macs", "deployed_bytes"):
        assert len({row[key] for row in rows.values()}) == 1
    assert rows["mtl", 0]["parameters"] < rows["lorkd", 0]["parameters"]
    assert rows["stl", 0]["parameters"] > 1.9 * rows["mtl", 0]["parameters"]
    assert set(document["foundation"]["regions"]) == {"chest", "knee"}


def test_pairs_are_on_the_same_cases_and_average_hits_over_seeds(compared: tuple[Path, dict[str, Any]]) -> None:
    _, document = compared
    assert [(pair["baseline"], pair["candidate"]) for pair in document["pairs"]] == [
        ("stl", "mtl"),
        ("stl", "lorkd"),
        ("mtl", "lorkd"),
    ]
    means = {row["method"]: row["regions"] for row in document["table"]}
    pair = document["pairs"][1]
    for name, found in pair["regions"].items():
        assert found["drop"] == pytest.approx(means["stl"][name] - means["lorkd"][name])
        assert found["ci"][0] <= found["drop"] <= found["ci"][1]
    assert pair["mean"]["drop"] == pytest.approx(np.mean([found["drop"] for found in pair["regions"].values()]))
    assert "2 seed(s)" in document["warnings"][0]


def test_it_is_stored_and_cells_are_used_again(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, document = compared
    directory = next((root / "comparisons").iterdir())
    assert read_json(directory / "comparison.json", kind="compare") == json.loads(json.dumps(document))
    assert read_manifest(directory, kind="comparison").files.keys() == {"comparison.json"}
    assert len(list((directory / "cells").glob("*/manifest.json"))) == 6
    assert len(list((root / "foundations").iterdir())) == 1
    heard: list[Event] = []
    again = compare(config, methods=["lorkd", "stl"], seeds=[1], out=root / "comparisons", on_event=heard.append)
    assert not [event for event in heard if isinstance(event, Started)]
    assert "cell 1 of 2: lorkd, seed 1, fraction 1" in [event.text for event in heard if isinstance(event, Notice)]
    rows = {(row["method"], row["seed"]): row for row in document["rows"]}
    assert again["rows"] == [rows["lorkd", 1], rows["stl", 1]]


def test_one_seed_gives_the_paired_test_of_two_models(
    config: Config, compared: tuple[Path, dict[str, Any]], made_run: Path
) -> None:
    root, _ = compared
    document = compare(config, methods=["mtl", "stl"], seeds=[0], out=root / "comparisons")
    cells = list((root / "comparisons").glob("*/cells/*/cell.json"))
    rows = {path.parent: read_json(path)["row"] for path in cells}
    logits = {
        row["method"]: load_tensors(path / "logits.safetensors")["knee"].numpy()
        for path, row in rows.items()
        if row["seed"] == 0
    }
    from lorkit.decompose.data import prepare, read_regions, split_regions
    from lorkit.decompose.transforms import build_recipe

    samples = read_regions(config)
    indices = split_regions(samples, config.split, seed=config.seed).parts("knee")["test"]
    test = prepare(samples["knee"], build_recipe(config.image, config.regions["knee"]), indices=indices)
    expected = paired_drop(test.labels, logits["mtl"], logits["stl"], test.groups)
    assert document["pairs"][0]["regions"]["knee"] == expected.to_json()


def test_fractions_train_on_less(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, _ = compared
    heard: list[Event] = []
    document = compare(
        config, methods=["mtl"], seeds=[0], fractions=[1.0, 0.5], out=root / "comparisons", on_event=heard.append
    )
    assert [row["fraction"] for row in document["table"]] == [1.0, 0.5]
    assert document["foundation"] is None
    started = [event for event in heard if isinstance(event, Started)]
    assert [event.steps for event in started] == [4]  # 64 of 128 training images in batches of 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["lorkdd"]}, "did you mean 'lorkd'"),
        ({"methods": ["mtl", "mtl"]}, "--methods mtl,mtl; required: one or more distinct"),
        ({"seeds": []}, "--seeds"),
        ({"fractions": [1.5]}, r"--fractions 1.5; required: above 0"),
    ],
)
def test_wrong_lists_are_refused_before_anything_is_read(
    config: Config, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare(config, out=tmp_path / "comparisons", **options)
    assert not list(tmp_path.iterdir())
