from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.errors import ArtifactError, DataError, UsageError
from lorkit.export.prediction import network as network_module
from lorkit.export.prediction import prediction
from lorkit.export.prediction.prediction import predict

NAME = "onnx-cpu-generic-fp32"


@pytest.fixture
def images(exported: Path, tmp_path: Path) -> list[Path]:
    """Two images of the chest region, and one that is none."""
    with np.load(exported.parent.parent / "chest.npz") as data:
        chest = data["images"][:2]
    paths = [tmp_path / "case1.png", tmp_path / "case2.png", tmp_path / "noise.png"]
    noise = np.where(np.indices((24, 24)).sum(0) % 2 == 0, 255, 0).astype(np.uint8)
    for path, image in zip(paths, [*chest, noise], strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_an_export_labels_what_belongs_and_refuses_what_does_not(exported: Path, images: list[Path]) -> None:
    document = predict(exported / "exports" / "chest" / NAME, images).to_json()
    json.dumps(document, allow_nan=False)
    assert document["kind"] == "prediction"
    assert document["not_for_diagnosis"] is True
    assert document["region"] == "chest"
    first, second, noise = document["predictions"]
    for row in (first, second):
        assert row["label"] in ("normal", "pneumonia")
        assert sum(row["probabilities"].values()) == pytest.approx(1)
        assert row["probability"] == max(row["probabilities"].values())
        assert row["distance"] <= row["limit"]
        assert row["out_of_region"] is False
    assert noise["out_of_region"] is True
    assert noise["label"] is None
    assert noise["probabilities"] is None
    assert "1 of 3" in document["warnings"][0]


def test_out_of_region_images_are_labelled_when_allowed(exported: Path, images: list[Path]) -> None:
    export = exported / "exports" / "chest" / NAME
    (row,) = predict(export, images[2:], allow_out_of_region=True, top=5).to_json()["predictions"]
    assert row["label"] is not None
    assert row["out_of_region"] is True
    assert [entry["label"] for entry in row["top"]] == sorted(
        row["probabilities"], key=lambda name: -row["probabilities"][name]
    )


def test_an_expert_and_its_export_agree(exported: Path, images: list[Path], tmp_path: Path) -> None:
    copy = shutil.copytree(exported / "experts" / "chest", tmp_path / "copy")
    one = predict(copy, images[:2]).to_json()["predictions"]
    two = predict(exported / "exports" / "chest" / NAME, images[:2]).to_json()["predictions"]
    three = predict(None, images[:2], run=exported, region="chest").to_json()["predictions"]
    for row, other, third in zip(one, two, three, strict=True):
        assert row["label"] == other["label"]
        assert other == third
        assert row["probability"] == pytest.approx(other["probability"], abs=1e-5)


@pytest.mark.parametrize("place", ["expert", "export"])
def test_flips_answer_a_mirrored_image_as_the_image(
    exported: Path, images: list[Path], tmp_path: Path, place: str
) -> None:
    path = exported / ("experts/chest" if place == "expert" else f"exports/chest/{NAME}")
    mirrored = tmp_path / "mirrored.png"
    Image.fromarray(np.asarray(Image.open(images[0]))[:, ::-1]).save(mirrored)
    pair = [images[0], mirrored]
    plain, both = (predict(path, pair, flips=flips, allow_out_of_region=True) for flips in (False, True))
    assert (plain.flips, both.flips) == (False, True)
    log_odds = [
        [np.log(list(row["probabilities"].values())) for row in document.to_json()["predictions"]]
        for document in (plain, both)
    ]
    np.testing.assert_allclose(log_odds[1][0], log_odds[1][1], atol=1e-4)
    mean = (log_odds[0][0] + log_odds[0][1]) / 2
    np.testing.assert_allclose(np.diff(log_odds[1][0]), np.diff(mean), atol=1e-4)
    assert abs(np.diff(log_odds[0][0]) - np.diff(log_odds[0][1])) > 1e-3


def test_flips_are_refused_where_an_artifact_says_that_sides_matter(
    exported: Path, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for sided, message in ((True, "where left and right differ"), (None, "does not say whether sides matter")):

        def opened(*args: Any, sided: bool | None = sided) -> Any:
            network = network_module.open_network(*args)
            return replace(network, info=network.info.with_changes(sided=sided))

        with monkeypatch.context() as patch:
            patch.setattr(prediction, "open_network", opened)
            with pytest.raises(UsageError, match=message):
                predict(exported / "experts" / "chest", images, flips=True, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_keep_the_stems_of_their_inputs(exported: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = Path(shutil.copy(images[0], tmp_path / "other" / "case1.png"))
    listed = Path(shutil.copy(images[1], tmp_path / "predictions.png"))
    (tmp_path / "list.csv").write_text(f"path\n{listed.name}\n", encoding="utf-8")
    out = tmp_path / "out"
    predict(exported / "exports" / "chest" / NAME, [images[0], twin, images[2], tmp_path / "list.csv"], out=out)
    names = ["case1", "case1-2", "noise", "predictions-2"]
    assert {path.name for path in out.iterdir()} == {
        "predictions.csv", "predictions.json", *(f"{name}.json" for name in names)
    }  # fmt: skip
    with (out / "predictions.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["input"]).name for row in rows] == ["case1.png", "case1.png", "noise.png", "predictions.png"]
    assert rows[2]["label"] == ""
    assert rows[2]["out_of_region"] == "true"
    assert float(rows[0]["p_normal"]) + float(rows[0]["p_pneumonia"]) == pytest.approx(1, abs=1e-5)
    assert json.loads((out / "noise.json").read_text(encoding="utf-8"))["not_for_diagnosis"] is True


def test_a_synthetic_expert_is_refused_unless_allowed(
    make_export: Callable[..., Path], images: list[Path], tmp_path: Path
) -> None:
    phantom = make_export("phantom")
    with pytest.raises(ArtifactError, match=r"trained on phantoms only.*--allow-synthetic") as caught:
        predict(phantom, images, out=tmp_path / "out")
    assert caught.value.exit_code == 4
    assert not (tmp_path / "out").exists()
    document = predict(phantom, images, allow_synthetic=True).to_json()
    assert document["synthetic"] is True
    assert "no in-region check" in document["warnings"][0]
    assert document["predictions"][0]["out_of_region"] is None


def test_one_bad_file_leaves_nothing_half_written(exported: Path, images: list[Path], tmp_path: Path) -> None:
    images[1].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"case2\.png"):
        predict(exported / "exports" / "chest" / NAME, images, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_table_never_replaces_the_list_of_images(exported: Path, images: list[Path], tmp_path: Path) -> None:
    listed = tmp_path / "predictions.csv"
    text = "path\n" + "\n".join(str(path) for path in images) + "\n"
    listed.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"predictions\.csv would replace an input.*--out"):
        predict(exported / "exports" / "chest" / NAME, [listed], out=tmp_path)
    assert listed.read_text(encoding="utf-8") == text
    assert predict(exported / "exports" / "chest" / NAME, [listed], out=tmp_path / "other").predictions


def test_a_region_must_be_named_and_known(exported: Path, images: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"one of chest, knee; name one with --region"):
        predict(None, images, run=exported)
    with pytest.raises(UsageError, match=r"unknown region 'brain'"):
        predict(exported, images, region="brain")
    with pytest.raises(UsageError, match="no such export of region 'chest'"):
        predict(exported, images, region="chest", target="trt")
    with pytest.raises(UsageError, match="is of kind 'foundation'"):
        predict(exported / "foundation", images)


def test_it_needs_no_torch_on_an_export(exported: Path, images: list[Path]) -> None:
    export = exported / "exports" / "chest" / NAME
    script = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'monai'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "from lorkit.export import predict\n"
        f"print(predict({str(export)!r}, [{str(images[0])!r}]).predictions[0].label)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() in ("normal", "pneumonia")
