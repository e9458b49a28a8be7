"""`init`: the template loads, means what it says, and never replaces a file by accident."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from small_graphs import write_graph, write_payments

from lorkit.decompose import default_config, load_config
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data import read_region, read_regions, split_regions


def test_the_template_is_the_built_in_configuration(decompose: Callable[..., Any], tmp_path: Path) -> None:
    assert decompose("init").stdout == "decompose.yaml\n"
    assert load_config(tmp_path / "decompose.yaml").model_dump() == default_config().model_dump()


def test_an_existing_file_stays(decompose: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "decompose.yaml").write_text("mine")
    outcome = decompose("init")
    assert outcome.code == 2
    assert "decompose.yaml exists" in outcome.stderr
    assert (tmp_path / "decompose.yaml").read_text() == "mine"
    assert decompose("init", "--force", "--json").document["config"] == "decompose.yaml"


def test_regions_from_data(decompose: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "data: odd #name"
    (data / "brain").mkdir(parents=True)
    np.savez(data / "brain" / "mri.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) % 2)
    np.savez(data / "masks.npz", images=np.zeros((4, 8, 8), np.uint8), masks=np.zeros((4, 8, 8), np.uint8))
    outcome = decompose("init", "--from-data", data, "--out", "real.yaml", "--json")
    assert outcome.document["regions"] == ["brain"]
    (problem,) = outcome.document["skipped"].values()
    assert problem.startswith("has masks")
    (entry,) = load_config(tmp_path / "real.yaml").regions["brain"].data or ()
    assert Path(entry) == (data / "brain" / "mri.npz").resolve()
    assert "# masks.npz: has" in (tmp_path / "real.yaml").read_text()


def test_a_missing_directory_writes_nothing(decompose: Callable[..., Any], tmp_path: Path) -> None:
    assert decompose("init", "--from-data", "absent").code == 4
    assert not list(tmp_path.iterdir())


def test_the_template_names_keys_of_a_region_that_load(decompose: Callable[..., Any], tmp_path: Path) -> None:
    decompose("init")
    text = (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^#   (\w+: .*?)   .*$", text, re.MULTILINE)
    keys = {key for line in lines for key in yaml.safe_load(line)}
    assert {"groups", "parts", "augment", "window", "intensity", "structures"} <= keys
    for line in lines:
        RegionConfig.model_validate({"data": "x", **yaml.safe_load(line)})
    (example,) = re.findall(r"such as  chest: (.*)$", text, re.MULTILINE)
    RegionConfig.model_validate(yaml.safe_load(example))


def test_a_manifest_is_written_with_the_folder_that_its_paths_start_at(
    decompose: Callable[..., Any], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / "d" / "scans" / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 4), ord(name), np.uint8)).save(tmp_path / "d" / "scans" / name / "1.png")
    (tmp_path / "d" / "scans.csv").write_text("path,label\na/1.png,a\nb/1.png,b\n")
    document = decompose("init", "--from-data", "d", "--json").document
    assert document["regions"] == ["scans"]
    assert document["skipped"] == {"d/scans": "its images are listed in scans.csv"}
    config = load_config(tmp_path / "decompose.yaml")
    assert len(read_region("scans", config.regions["scans"], base=tmp_path).labels) == 2


def test_a_table_of_findings_becomes_a_multilabel_region(decompose: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = ("path,patient,Edema,Effusion", "a.png,p1,1,0", "b.png,p2,0,1", "c.png,p3,-1,")
    (tmp_path / "data" / "chest.csv").write_text("\n".join(rows))
    for name in "abc":
        (tmp_path / "data" / f"{name}.png").touch()
    assert decompose("init", "--from-data", "data").code == 0
    region = load_config(tmp_path / "decompose.yaml").regions["chest"]
    assert (region.task, region.classes) == ("multilabel", ("edema", "effusion"))


def test_a_configuration_of_graphs_is_complete(decompose: Callable[..., Any], tmp_path: Path) -> None:
    assert decompose("init", "--graph").code == 0
    config = load_config(tmp_path / "decompose.yaml")
    assert (config.method, list(config.regions)) == ("ragformer", ["payments"])
    assert read_regions(config)["payments"].region.synthetic
    done = decompose("init", "--graph", "--from-data", ".", "--force")
    assert done.code == 2
    assert "--graph with --from-data" in done.stderr


def test_a_table_with_entities_runs_as_it_was_found(decompose: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    (tmp_path / "data").mkdir()
    write_payments(tmp_path / "data" / "north.csv", rows=120)
    told = decompose("init", "--from-data", "data/north.csv")
    assert told.code == 0
    assert "north: user is a relation: text, 38 values in 120 rows" in told.stderr
    assert "north: is_fraud is the label: by its name; classes 0 (80), 1 (40), 1 is the positive one" in told.stderr
    assert "split: the latest rows are for test" in told.stderr
    text = (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    assert "#   north: time is the time: numbers, by its name, never falling\n" in text
    config = load_config(tmp_path / "decompose.yaml")
    region = config.regions["north"]
    assert (config.name, config.method, config.split.by) == ("north", "ragformer", "temporal")
    assert (region.relations, region.time, region.label) == (("user", "shop"), "time", "is_fraud")
    assert decompose("data").code == 0
    assert decompose("train", "--dry-run").code == 0


def test_a_file_says_what_was_taken_for_the_time(decompose: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    seconds = [1_700_000_000 + 90 * row for row in range(200)]
    users = [f"u{row % 50}" for row in range(200)]
    odd = "u\x07\u2028ser: # [id"
    write_payments(tmp_path / "p.csv", timed=False, user=None, **{"x1": seconds, odd: users})
    assert decompose("init", "--from-data", "p.csv").code == 0
    lines = (tmp_path / "decompose.yaml").read_text(encoding="utf-8").splitlines()
    assert "#   p: x1 is the time: seconds since 1970, by its values, never falling" in lines
    assert "#   p: the time x1 is not named as one: take `time` out of the region if it is none" in lines
    assert "#   p: u? ser: # [id is a relation: text, 50 values in 200 rows" in lines
    region = load_config(tmp_path / "decompose.yaml").regions["p"]
    assert (region.relations, region.time) == (("shop", odd), "x1")
    assert decompose("init", "--graph", "--force").code == 0
    assert "Chosen from the data" not in (tmp_path / "decompose.yaml").read_text(encoding="utf-8")


def test_graphs_of_one_form_share_a_configuration(decompose: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    (tmp_path / "data").mkdir()
    for seed, name in enumerate(("a: b", "south")):
        write_payments(tmp_path / "data" / f"{name}.csv", seed=seed, timed=False, user=None, **{"user: id": _users()})
    write_graph(tmp_path / "data" / "other.npz")
    document = decompose("init", "--from-data", "data", "--json").document
    assert document["regions"] == ["a-b", "south"]
    assert list(document["skipped"]) == ["data/other.npz"]
    assert document["split"] == {"by": "entity", "entities": ["user: id"]}
    assert {row["name"]: row["role"] for row in document["columns"]["south"]}["user: id"] == "relation"
    config = load_config(tmp_path / "decompose.yaml")
    assert config.split.entities == ("user: id",)
    assert set(split_regions(read_regions(config), config.split, seed=0).parts("south")) == {"train", "val", "test"}


def _users() -> list[str]:
    return [f"u{number}" for number in np.random.default_rng(3).integers(0, 60, 200)]


def test_a_label_without_a_usual_name_is_stated(decompose: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("polars", reason="the extra 'graph' is not installed")
    write_payments(tmp_path / "p.csv", is_fraud=None, bad=[0, 1] * 100, late=[1, 0] * 100)
    told = decompose("init", "--from-data", "p.csv")
    assert told.code == 4
    assert "several have two values: bad, late" in told.stderr
    assert "name it with --label" in told.stderr
    assert not (tmp_path / "decompose.yaml").exists()
    assert decompose("init", "--from-data", "p.csv", "--label", "bad").code == 0
    assert load_config(tmp_path / "decompose.yaml").regions["p"].label == "bad"
    told = decompose("init", "--label", "bad", "--force")
    assert (told.code, "--label without --from-data" in told.stderr) == (2, True)


def test_a_start_for_the_amount_of_data_is_written_with_its_reason(
    decompose: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "d").mkdir()
    for name in ("brain", "knee"):
        np.savez(tmp_path / "d" / f"{name}.npz", images=np.zeros((40, 8, 8), np.uint8), labels=np.arange(40) % 2)
    told = decompose("init", "--from-data", "d")
    assert "method lorkd, as a start and not a promise: with few patients in several regions" in told.stderr
    text = (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    assert "# A start for this amount of data, not a promise: with few patients in several regions" in text
    assert "# See docs/benchmarks/teaching.md#what-experts-add-when-a-hospital-has-few-patients\n" in text
    config = load_config(tmp_path / "decompose.yaml")
    assert (config.method, config.train.epochs, config.train.min_steps) == ("lorkd", 20, 1000)
    decompose("init", "--from-data", "d/knee.npz", "--force")
    assert load_config(tmp_path / "decompose.yaml").method == "stl"
    assert "(foundation.weights) method rd:" in (tmp_path / "decompose.yaml").read_text(encoding="utf-8")


def test_a_folder_of_images_without_labels_beside_classes_is_none(
    decompose: Callable[..., Any], tmp_path: Path
) -> None:
    for name in ("no", "yes", "unlabelled"):
        folder = tmp_path / "d" / "chest" / name
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = np.full((8, 8), 10 * number + len(name), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    assert decompose("init", "--from-data", "d").code == 0
    config = load_config(tmp_path / "decompose.yaml")
    region = config.regions["chest"]
    folder = tmp_path / "d" / "chest"
    assert (region.data, region.unlabelled) == ((str(folder),), (str(folder / "unlabelled"),))
    assert "data: d/chest, unlabelled: d/chest/unlabelled" in (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    assert read_region("chest", region, base=tmp_path).region.classes == ("no", "yes")


def test_data_that_cannot_be_counted_get_no_recommendation(decompose: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("data/a/1.png", "data/b/1.png", "data/b/2.unknown"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    told = decompose("init", "--from-data", "data")
    assert told.code == 0
    assert "no recommendation, because the data cannot be counted: " in told.stderr
    assert "not a promise" not in (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
