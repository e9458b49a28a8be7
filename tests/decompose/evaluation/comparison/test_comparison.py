from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.artifacts import load_tensors, read_json, read_manifest
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.data import prepare, read_regions, split_regions
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.evaluation.comparison.comparison import compare
from lorkit.decompose.events import Event, Notice, Started
from lorkit.decompose.metrics import paired_drop
from lorkit.decompose.training import training_data


@pytest.fixture(scope="module")
def config(made_run: Path, tiny: None) -> Config:
    backbones = ["foundation.backbone=tiny", "student.backbone=tiny"]
    return load_config(made_run / "decompose.yaml", overrides=["name=small", "train.augment=null", *backbones])


@pytest.fixture(scope="module")
def compared(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("compare")
    document = compare(
        config, methods=["stl", "mtl", "lorkd"], seeds=[0, 1], fractions=[1.0], out=root / "comparisons"
    ).to_json()
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
    for key in ("parameters", "macs", "deployed_bytes"):
        assert len({row[key] for row in rows.values()}) == 1
    lorkd, mtl, stl = (rows[method, 0] for method in ("lorkd", "mtl", "stl"))
    assert mtl["training_parameters"] < lorkd["training_parameters"]
    assert mtl["training_macs"] == mtl["macs"] < lorkd["training_macs"]
    assert stl["training_parameters"] > 1.9 * mtl["training_parameters"]
    foundation = document["foundation"]
    assert set(foundation["regions"]) == {"chest", "knee"}
    assert foundation["ci"][0] <= foundation["balanced_accuracy"] <= foundation["ci"][1]


def test_pairs_are_on_the_same_cases_and_average_hits_over_seeds(compared: tuple[Path, dict[str, Any]]) -> None:
    _, document = compared
    assert [(pair["baseline"], pair["candidate"]) for pair in document["compared_pairs"]] == [
        ("foundation", "stl"),
        ("foundation", "mtl"),
        ("foundation", "lorkd"),
        ("stl", "mtl"),
        ("stl", "lorkd"),
        ("mtl", "lorkd"),
    ]
    means = {row["method"]: row["regions"] for row in document["table"]}
    pair = document["compared_pairs"][4]
    for name, found in pair["regions"].items():
        assert found["drop"] == pytest.approx(means["stl"][name] - means["lorkd"][name])
        assert found["ci"][0] <= found["drop"] <= found["ci"][1]
    assert pair["mean_drop"]["drop"] == pytest.approx(np.mean([found["drop"] for found in pair["regions"].values()]))
    assert pair["wins"] == sum(found["ci"][1] < 0 for found in pair["regions"].values())
    assert pair["losses"] == sum(found["ci"][0] > 0 for found in pair["regions"].values())
    assert "2 seeds" in document["warnings"][0]
    table = {row["label"]: row for row in document["table"]}["lorkd"]
    means = [
        np.mean([block["balanced_accuracy"] for block in row["regions"].values()]) for row in document["rows"][2::3]
    ]
    assert table["balanced_accuracy"] == pytest.approx(np.mean(means))
    assert table["sd"] == pytest.approx(np.std(means, ddof=1))


def test_it_is_stored_and_cells_are_used_again(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, document = compared
    directory = next((root / "comparisons").iterdir())
    stored = read_json(directory / "comparison.json", kind="compare")
    assert stored == document
    assert stored["id"] == directory.name
    assert read_manifest(directory, kind="comparison").files.keys() == {"comparison.json", "config.yaml"}
    assert len(list((directory / "cells").glob("*/manifest.json"))) == 6
    assert len(list((root / "foundations").iterdir())) == 1
    heard: list[Event] = []
    again = compare(
        config, methods=["lorkd", "stl"], seeds=[1], out=root / "comparisons", on_event=heard.append
    ).to_json()
    assert not [event for event in heard if isinstance(event, Started)]
    assert "cell 1 of 2: lorkd, seed 1, fraction 1" in [event.text for event in heard if isinstance(event, Notice)]
    rows = {(row["method"], row["seed"]): row for row in document["rows"]}
    assert again["rows"] == [rows["lorkd", 1], rows["stl", 1]]
    # what was asked for is returned; what is stored keeps all that was ever finished
    kept = read_json(directory / "comparison.json", kind="compare")
    assert {(row["label"], row["seed"]) for row in kept["rows"]} == set(rows)


def test_one_seed_gives_the_paired_test_of_two_models(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, _ = compared
    document = compare(config, methods=["mtl", "stl"], seeds=[0], out=root / "comparisons").to_json()
    cells = list((root / "comparisons").glob("*/cells/*/cell.json"))
    rows = {path.parent: read_json(path)["head"] for path in cells}
    logits = {
        row["method"]: load_tensors(path / "evidence-test.safetensors")["knee"].numpy()
        for path, row in rows.items()
        if row["seed"] == 0
    }
    samples = read_regions(config)
    indices = split_regions(samples, config.split, seed=config.seed).parts("knee")["test"]
    test = prepare(samples["knee"], build_recipe(config.image, config.regions["knee"]), indices=indices)
    expected = paired_drop(test.labels, logits["mtl"], logits["stl"], test.groups, seed=1)  # the second region
    pair = document["compared_pairs"][-1]
    assert (pair["baseline"], pair["candidate"]) == ("mtl", "stl")
    found = pair["regions"]["knee"]
    shared = ("drop", "baseline", "candidate", "n", "groups", "mcnemar_p")  # the gate's interval is another
    assert {key: found[key] for key in shared} == {key: pytest.approx(getattr(expected, key)) for key in shared}


def test_fractions_train_on_less(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, _ = compared
    heard: list[Event] = []
    document = compare(
        config, methods=["mtl"], seeds=[0], fractions=[1.0, 0.5], out=root / "comparisons", on_event=heard.append
    ).to_json()
    assert [row["fraction"] for row in document["table"]] == [1.0, 0.5]
    assert [pair["fraction"] for pair in document["compared_pairs"]] == [1.0, 0.5], "each against the foundation"
    started = [event for event in heard if isinstance(event, Started)]
    assert [event.steps for event in started] == [4]  # 64 of 128 training images in batches of 16


def test_without_a_teacher_none_is_made(config: Config, tmp_path: Path) -> None:
    document = compare(config, methods=["mtl"], out=tmp_path / "comparisons").to_json()
    assert document["foundation"] is None
    assert document["compared_pairs"] == []
    assert "1 seed" in document["warnings"][0]
    assert not (tmp_path / "foundations").exists()


def test_validation_judges_without_the_test_part(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[int] = []
    real = training_data.prepare

    def spy(samples: Any, recipe: Any, *, indices: Any, **others: Any) -> Any:
        prepared.extend(int(index) for index in indices) if samples.region.name == "knee" else None
        return real(samples, recipe, indices=indices, **others)

    monkeypatch.setattr(training_data, "prepare", spy)
    document = compare(config, methods=["mtl"], split="val", out=tmp_path / "comparisons").to_json()
    parts = split_regions(read_regions(config), config.split, seed=config.seed).parts("knee")
    assert not set(prepared) & set(parts["test"].tolist())
    assert document["split"] == "val"
    assert any("not to report results" in text for text in document["warnings"])
    (directory,) = (tmp_path / "comparisons").iterdir()
    assert read_json(directory / "comparison-val.json", kind="compare")["split"] == "val"
    assert not list(directory.rglob("*test*"))
    # a cell judged on test has validation figures too; one judged on validation is trained again for the test
    heard: list[Event] = []
    compare(config, methods=["mtl"], out=tmp_path / "comparisons", on_event=heard.append)
    assert [event for event in heard if isinstance(event, Started)]
    again = compare(config, methods=["mtl"], split="val", out=tmp_path / "comparisons").to_json()
    assert again["rows"][0]["regions"] == document["rows"][0]["regions"]
    stored = read_json(directory / "comparison-val.json", kind="compare")
    assert len(list((directory / "cells").iterdir())) == 2
    assert stored["rows"] == again["rows"], "both cells have figures on validation: one of them stands for both"
    assert read_manifest(directory).files.keys() == {"comparison.json", "comparison-val.json", "config.yaml"}


def test_a_variant_has_a_label_and_settings_of_its_own(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, _ = compared
    call = {"methods": ["lorkd"], "seeds": [0], "out": root / "comparisons"}
    found = compare(config, variants=["thin:lorkd:lorkd.rank=2,train.lr=0.01", "same:lorkd:"], **call).to_json()
    rows = {row["label"]: row for row in found["rows"]}
    assert rows["thin"]["training_parameters"] < rows["lorkd"]["training_parameters"]
    assert {**rows["same"], "label": "lorkd"} == rows["lorkd"], "equal settings share their cells"
    assert found["arms"][1] == {
        "label": "thin",
        "method": "lorkd",
        "settings": ["lorkd.rank=2", "train.lr=0.01"],
        "digest": found["arms"][1]["digest"],
    }
    assert "'thin' was trained with its own settings" in found["warnings"][0]
    with pytest.raises(UsageError, match=r"label 'thin' is lorkd with lorkd.rank=2,train.lr=0.01"):
        compare(config, variants=["thin:lorkd:lorkd.rank=3"], **call)


def test_a_changed_balancer_is_trained_again(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchjd", reason="the extra 'balancers' is not installed")
    out = tmp_path / "comparisons"
    compare(config, methods=["mtl-pcgrad"], out=out)
    monkeypatch.setattr("lorkit.decompose.training.gradients.balancing._REVISION", 99)
    heard: list[Event] = []
    compare(config, methods=["mtl-pcgrad"], out=out, on_event=heard.append)
    assert [event for event in heard if isinstance(event, Started)]
    (directory,) = out.iterdir()
    assert len(list((directory / "cells").iterdir())) == 2
    assert len(read_json(directory / "comparison.json")["rows"]) == 1, "the cell of the old one rests"


def test_pages_are_stored_and_sealed_with_the_document(config: Config, compared: tuple[Path, dict[str, Any]]) -> None:
    root, _ = compared
    compare(config, methods=["mtl"], out=root / "comparisons", pages=lambda document: {".md": document.id})
    directory = next((root / "comparisons").iterdir())
    assert (directory / "comparison.md").read_text() == directory.name
    assert "comparison.md" in read_manifest(directory, kind="comparison").files


def test_the_stored_configuration_continues_the_same_comparison(
    config: Config, compared: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, document = compared
    directory = root / "comparisons" / document["id"]
    heard: list[Event] = []
    monkeypatch.chdir(root)
    again = compare(
        load_config(directory / "config.yaml"), methods=["mtl"], out=root / "comparisons", on_event=heard.append
    )
    assert again.id == document["id"], "the same data, split and settings"
    assert not [event for event in heard if isinstance(event, Started)], "nothing is trained again"


def test_a_damaged_cell_is_named(config: Config, tmp_path: Path) -> None:
    compare(config, methods=["mtl"], out=tmp_path / "comparisons")
    (path,) = (tmp_path / "comparisons").glob("*/cells/*/cell.json")
    path.write_text(path.read_text().replace("0", "1"))
    with pytest.raises(ArtifactError, match=f"remove {path.parent} and run"):
        compare(config, methods=["mtl"], out=tmp_path / "comparisons")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["lorkdd"]}, "did you mean 'lorkd'"),
        ({"split": "tests"}, "did you mean 'test'"),
        ({"budget": "step"}, "did you mean 'steps'"),
        ({"methods": []}, "one or more distinct"),
        ({"methods": ["mtl", "mtl"]}, "--methods mtl,mtl; required: one or more distinct"),
        ({"seeds": []}, "--seeds"),
        ({"seeds": [0, 1, 0]}, "--seeds 0,1,0; required: one or more distinct"),
        ({"seeds": [0, -1]}, "--seeds -1; required: 0 to 2147483647"),
        ({"seeds": [2**63]}, "--seeds 9223372036854775808; required: 0 to 2147483647"),
        ({"fractions": []}, "--fractions"),
        ({"fractions": [0.5, 0.50]}, "--fractions 0.5,0.5; required: one or more distinct"),
        ({"fractions": [0.0]}, r"--fractions 0; required: above 0"),
        ({"fractions": [float("nan")]}, r"--fractions nan; required: above 0"),
        ({"fractions": [1.5]}, r"--fractions 1.5; required: above 0"),
    ],
)
def test_wrong_lists_are_refused_before_anything_is_read(
    config: Config, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compare(config, out=tmp_path / "comparisons", **options)
    assert not list(tmp_path.iterdir())
