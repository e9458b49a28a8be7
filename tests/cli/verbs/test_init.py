"""`init`: the template loads, means what it says, and never replaces a file by accident."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image
from small_graphs import write_graph, write_payments

from lorkit.cli.output import next_steps
from lorkit.decompose import default_config, load_config
from lorkit.decompose.config import RegionConfig
from lorkit.decompose.data import read_region, read_regions, split_regions


def pictures(count: int, *shape: int) -> np.ndarray:
    """Return (count, *shape) random bytes, (8, 8) by default."""
    return np.random.default_rng(count).integers(0, 255, (count, *(shape or (8, 8))), np.uint8)


def put(root: Path, *names: str) -> None:
    """Write pictures of 8 x 8 random pixels."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (8, 8), np.uint8)).save(root / name)


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
    np.savez(data / "brain" / "mri.npz", images=pictures(12), labels=np.arange(12) % 2)
    np.savez(data / "other.npz", pixels=np.zeros(4))
    outcome = decompose("init", "--from-data", data, "--out", "real.yaml", "--json")
    assert outcome.document["region_names"] == ["brain"]
    (problem,) = outcome.document["skipped"].values()
    assert problem.startswith("has pixels, not images")
    (entry,) = load_config(tmp_path / "real.yaml").regions["brain"].data or ()
    assert Path(entry) == (data / "brain" / "mri.npz").resolve()
    assert "# other.npz: has pixels" in (tmp_path / "real.yaml").read_text()


def test_a_missing_directory_writes_nothing(decompose: Callable[..., Any], tmp_path: Path) -> None:
    assert decompose("init", "--from-data", "absent").code == 2
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
    names = [f"{name}/{number}.png" for name in ("a", "b") for number in range(6)]
    put(tmp_path / "d" / "scans", *names)
    (tmp_path / "d" / "scans.csv").write_text("path,label\n" + "".join(f"{name},{name[0]}\n" for name in names))
    document = decompose("init", "--from-data", "d", "--json").document
    assert document["region_names"] == ["scans"]
    assert document["skipped"] == {"d/scans": "its images are listed in scans.csv"}
    config = load_config(tmp_path / "decompose.yaml")
    assert len(read_region("scans", config.regions["scans"], base=tmp_path).labels) == 12


def test_a_table_of_findings_becomes_a_multilabel_region(decompose: Callable[..., Any], tmp_path: Path) -> None:
    rows = [f"{number}.png,p{number},{number % 2},{number // 2 % 2}" for number in range(16)]
    put(tmp_path / "data", *(f"{number}.png" for number in range(16)))
    (tmp_path / "data" / "chest.csv").write_text("\n".join(["path,patient,Edema,Effusion", *rows, ""]))
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
    assert document["region_names"] == ["a-b", "south"]
    assert list(document["skipped"]) == ["data/other.npz"]
    assert document["proposed_split"] == {"by": "entity", "entities": ["user: id"]}
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
        np.savez(tmp_path / "d" / f"{name}.npz", images=pictures(40 + len(name)), labels=np.arange(40 + len(name)) % 2)
    told = decompose("init", "--from-data", "d")
    assert "method stl-kd, as a start and not a promise: with few patients, a network per region" in told.stderr
    text = (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    assert "# A start for this amount of data, not a promise: with few patients, a network per region" in text
    assert "# See docs/benchmarks/teaching.md#published-weights\n" in text
    config = load_config(tmp_path / "decompose.yaml")
    assert (config.method, config.train.epochs, config.train.min_steps) == ("stl-kd", 20, 1000)
    decompose("init", "--from-data", "d/knee.npz", "--force")
    assert load_config(tmp_path / "decompose.yaml").method == "stl"
    assert "(foundation.weights) method rd:" in (tmp_path / "decompose.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(("count", "method"), [(1, "stl"), (2, "stl-kd")])
def test_images_without_labels_are_named_where_the_method_uses_them(
    decompose: Callable[..., Any], tmp_path: Path, count: int, method: str
) -> None:
    for name in ("chest", "knee")[:count]:
        folders = ("no", "yes", "unlabelled")
        put(tmp_path / "d" / name, *(f"{folder}/{number}{name}.png" for folder in folders for number in range(8)))
    assert decompose("init", "--from-data", "d").code == 0
    config = load_config(tmp_path / "decompose.yaml")
    folder = tmp_path / "d" / "chest"
    region, text = config.regions["chest"], (tmp_path / "decompose.yaml").read_text(encoding="utf-8")
    assert (config.method, region.data) == (method, (str(folder),))
    assert region.unlabelled == ((str(folder / "unlabelled"),) if method == "stl-kd" else None)
    assert "unlabelled: d/chest/unlabelled" in text  # else in a comment
    assert read_region("chest", region, base=tmp_path).region.classes == ("no", "yes")


def test_data_that_training_would_refuse_write_nothing(decompose: Callable[..., Any], tmp_path: Path) -> None:
    put(tmp_path / "data", *(f"{name}/{number}.png" for name in "ab" for number in range(6)))
    (tmp_path / "data" / "b" / "2.unknown").touch()
    told = decompose("init", "--from-data", "data")
    assert told.code == 4
    assert "2.unknown is no image that this reader knows" in told.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def write_pair(folder: Path, case: str, values: Sequence[int], kind: str = "u1") -> None:
    """Write a volume of 20 x 12 x 16 voxels and a mask of the values."""
    rng = np.random.default_rng(sum(case.encode()))
    mask = np.zeros((20, 12, 16), np.uint8)
    for place, value in enumerate(values):
        mask[4 * place : 4 * place + 4] = value
    for name, voxels in (("images", rng.integers(0, 200, mask.shape).astype(kind)), ("labels", mask)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / name / f"{case}.nii.gz")


def dry_runs(decompose: Callable[..., Any], files: Sequence[str]) -> list[int]:
    return [decompose("train", file, "--dry-run").code for file in files]


def test_every_kind_of_data_has_a_configuration_of_its_own_that_trains(
    decompose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_steps, "is_interactive", lambda: True)
    data = tmp_path / "data"
    put(data / "skin", *(f"{name}/P{number // 2}_{number}{name}.png" for name in "ab" for number in range(12)))
    np.savez(data / "eye.npz", images=pictures(12, 40, 60, 3), masks=np.tile(np.arange(60) // 20, (12, 40, 1)))
    np.savez(data / "head.npz", images=pictures(12, 9, 10, 30), labels=np.arange(12) % 2)
    for number in range(6):
        write_pair(data / "liver", f"c{number}", (5, 47))
    told = decompose("init", "--from-data", "data")
    assert "need networks of their own: one configuration for each" in told.stderr
    files = told.stdout.split()
    assert len(files) == 4
    assert all(f"  decompose data {name}\n  decompose train {name}" in told.stderr for name in files[1:])
    configs = {load_config(tmp_path / name).image.size: load_config(tmp_path / name) for name in files}
    backbones = {size: (one.foundation.backbone, one.student.backbone) for size, one in configs.items()}
    assert backbones == {
        (32, 32): ("resnet34", "resnet18"),
        (32, 64): ("unet", "unet"),
        (16, 16, 32): ("resnet18_3d", "resnet18_3d"),
        (32, 16, 16): ("unet", "unet"),
    }
    assert {size: one.image.channels for size, one in configs.items() if one.image.channels > 1} == {(32, 64): 3}
    assert configs[32, 16, 16].regions["liver"].structures == {"label_5": 5, "label_47": 47}
    assert configs[32, 32].regions["skin"].groups == r"^(P\d+)"
    assert dry_runs(decompose, files) == [0, 0, 0, 0]


def test_no_file_is_replaced_or_left_alone_where_one_of_several_exists(
    decompose: Callable[..., Any], tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", images=pictures(12), labels=np.arange(12) % 2, masks=pictures(12) % 2)
    (tmp_path / "x-masks.yaml").write_text("mine")
    told = decompose("init", "--from-data", ".", "--out", "x.yaml")
    assert (told.code, "x-masks.yaml exists" in told.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "x-masks.yaml"]
    document = decompose("init", "--from-data", ".", "--out", "x.yaml", "--force", "--json").document
    files = [{"config": "x.yaml", "region_names": ["a"]}, {"config": "x-masks.yaml", "region_names": ["a-masks"]}]
    assert (document["files"], document["region_names"]) == (files, ["a"])
    assert dry_runs(decompose, ["x.yaml", "x-masks.yaml"]) == [0, 0]


def test_tables_of_parts_and_a_named_label_are_one_region(decompose: Callable[..., Any], tmp_path: Path) -> None:
    for part, count in (("train", 16), ("test", 6)):
        put(tmp_path / "data" / part, *(f"{100 * count + number}.png" for number in range(count)))
        rows = [f"{100 * count + number};{'ab'[number % 2]}" for number in range(count)]
        (tmp_path / "data" / f"{part}.csv").write_text("\n".join(["image_id;kind", *rows]), encoding="utf-8-sig")
    told = decompose("init", "--from-data", "data")
    assert (told.code, "no labels among kind; name the column of the label with --label" in told.stderr) == (4, True)
    assert decompose("init", "--from-data", "data", "--label", "Kind").code == 0
    (region,) = load_config(tmp_path / "decompose.yaml").regions.values()
    assert (region.label, region.val, len(region.train or ()), len(region.test or ())) == ("kind", None, 2, 2)
    assert dry_runs(decompose, ["decompose.yaml"]) == [0]
