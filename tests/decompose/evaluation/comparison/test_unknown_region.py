"""Routers in a comparison: the same cells, scored without telling them the region."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts import load_tensors, read_json
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.comparison import compare
from lorkit.decompose.events import Event, Started

SETTINGS = ("student.backbone=tiny", "foundation.backbone=tiny", "mola.router=downscaled", "train.augment=null")
ROUTED = ("mola-router", "hard-router")


@pytest.fixture(scope="module")
def config(made_run: Path, tiny: None) -> Config:
    return load_config(made_run / "decompose.yaml", overrides=["name=routed", *SETTINGS])


@pytest.fixture(scope="module")
def compared(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("routed") / "comparisons"
    return out, compare(config, methods=["mmoe", *ROUTED], seeds=[0, 1], out=out).to_json()


def test_routers_have_a_second_row_and_pairs_with_all_others(compared: tuple[Path, dict[str, Any]]) -> None:
    _, document = compared
    labels = ["mmoe", *(f"{name}{end}" for name in ROUTED for end in ("", ", region unknown"))]
    assert [row["label"] for row in document["rows"]] == 2 * labels
    assert [row["label"] for row in document["table"]] == labels
    assert [arm["label"] for arm in document["arms"]] == ["mmoe", *ROUTED]
    pairs = [(pair["baseline"], pair["candidate"]) for pair in document["compared_pairs"]]
    assert pairs == [(one, two) for index, one in enumerate(labels) for two in labels[index + 1 :]]
    means = {row["label"]: row["regions"] for row in document["table"]}
    for pair in document["compared_pairs"]:
        for name, found in pair["regions"].items():
            sides = (means[pair["baseline"]][name], means[pair["candidate"]][name])
            assert (found["baseline"], found["candidate"]) == pytest.approx(sides)
    for row in document["rows"]:
        assert ("prediction" in row) == row["label"].endswith("unknown")


def test_an_answer_of_the_wrong_region_is_wrong_and_others_are_the_same(
    compared: tuple[Path, dict[str, Any]],
) -> None:
    out, document = compared
    rows = {(row["label"], row["seed"]): row for row in document["rows"]}
    for path in out.glob("*/cells/*/cell.json"):
        head, found = read_json(path)["head"], load_tensors(path.parent / "evidence-test.safetensors")
        if head["method"] not in ROUTED:
            assert set(found) == {"chest", "knee"}
            continue
        row = rows[f"{head['method']}, region unknown", head["seed"]]
        for index, name in enumerate(("chest", "knee")):
            right = found[f"predicted/{name}"] == index
            known, unknown = found[name], found[f"unknown/{name}"]
            torch.testing.assert_close(unknown[right], known[right], atol=1e-4, rtol=1e-4)
            share = row["prediction"]["regions"][name]
            assert share["right"] == pytest.approx(float(right.double().mean()))
            assert row["prediction"]["confusion_by_region"][name][name] == int(right.sum())
            known_row = rows[head["method"], head["seed"]]["regions"][name]
            assert row["regions"][name]["accuracy"] <= known_row["accuracy"] + 1e-9
            assert row["regions"][name]["accuracy"] <= share["right"] + 1e-9
        assert row["parameters"] > rows[head["method"], head["seed"]]["parameters"], "it has the heads of all regions"


def test_the_table_has_the_mean_over_seeds(compared: tuple[Path, dict[str, Any]]) -> None:
    _, document = compared
    for summary in document["table"]:
        if not summary["label"].endswith("unknown"):
            assert "prediction" not in summary
            continue
        found = [row["prediction"] for row in document["rows"] if row["label"] == summary["label"]]
        mean = summary["prediction"]
        assert mean["right"] == pytest.approx(np.mean([one["right"] for one in found]))
        assert mean["ci"][0] <= mean["right"] <= mean["ci"][1]
        for name in ("chest", "knee"):
            assert mean["regions"][name] == pytest.approx(np.mean([one["regions"][name]["right"] for one in found]))
            assert mean["confusion_by_region"][name] == {
                other: sum(one["confusion_by_region"][name][other] for one in found) for other in ("chest", "knee")
            }


def test_stored_cells_have_both(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    out, document = compared
    heard: list[Event] = []
    again = compare(config, methods=["hard-router"], seeds=[1], out=out, on_event=heard.append).to_json()
    assert not [event for event in heard if isinstance(event, Started)]
    assert again["rows"] == document["rows"][-2:]


def test_regions_that_are_prepared_differently_need_to_be_known(config: Config, tmp_path: Path) -> None:
    # a window of intensities that only one region has
    other = config.regions["knee"].model_copy(update={"window": (10.0, 200.0)})
    changed = config.model_copy(update={"regions": {**config.regions, "knee": other}})
    document = compare(changed, methods=["hard-router"], out=tmp_path / "comparisons")
    assert [row.label for row in document.rows] == ["hard-router"]
    assert any("prepared differently" in text for text in document.warnings)


def test_a_router_that_cannot_be_built_is_refused_before_another_method_is_trained(
    config: Config, tmp_path: Path
) -> None:
    wrong = config.model_copy(update={"mola": config.mola.model_copy(update={"heads": "weighted"})})
    heard: list[Event] = []
    with pytest.raises(UsageError, match="regions chest and knee have different classes"):
        compare(wrong, methods=["mtl", "mola-router"], out=tmp_path / "comparisons", on_event=heard.append)
    assert not [event for event in heard if isinstance(event, Started)]
