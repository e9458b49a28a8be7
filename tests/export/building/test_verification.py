from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from lorkit.decompose.artifacts import digest_file, read_json, read_manifest, write_json, write_manifest
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError, ParityError, UsageError
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.runtime import parity

NAME = "onnx-cpu-generic-fp32"


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """The chest export, away from its run."""
    return Path(shutil.copytree(exported / "exports" / "chest" / NAME, tmp_path / "copy"))


def test_a_run_is_held_against_its_networks_on_its_test_split(exported: Path) -> None:
    document = verify(exported).to_json()
    json.dumps(document, allow_nan=False)
    assert document["kind"] == "verification"
    assert document["status"] == "passed"
    assert document["warnings"] == []
    assert len(document["exports"]) == 6
    for row in document["exports"]:
        assert row["status"] == "passed"
        assert row["against"] == "source"
        assert row["inputs"] == "real"
        assert [entry["batch"] for entry in row["batches"]] == [1, 3, 8, 32]
        assert row["label_flips"] == 0


def test_a_selection_is_verified_alone(exported: Path) -> None:
    rows = verify(run=exported, region="knee", target="onnx", batches=(2,)).to_json()["exports"]
    assert {row["region"] for row in rows} == {"knee"}
    assert verify(exported / "exports" / "chest" / NAME).to_json()["exports"][0]["owner"] == "expert"
    with pytest.raises(UsageError, match="no such export"):
        verify(exported, target="trt")


def test_other_images_can_be_named(exported: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (7, 16, 16), dtype=np.uint8)
    names = np.array(["normal", "pneumonia"])
    np.savez(tmp_path / "new.npz", images=images, labels=np.arange(7) % 2, label_names=names)
    (row,) = verify(exported / "exports" / "chest" / NAME, data=tmp_path / "new.npz").to_json()["exports"]
    assert row["n"] == 7


def test_a_copied_export_is_held_against_its_own_samples(copied: Path, tmp_path: Path) -> None:
    document = verify(copied).to_json()
    assert document["exports"][0]["against"] == "samples"
    assert "compared with its own samples" in document["warnings"][0]
    with pytest.raises(UsageError, match="is not stored with the network it was made from"):
        verify(copied, data=tmp_path / "new.npz")


def test_a_tampered_export_is_refused(copied: Path) -> None:
    content = bytearray((copied / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "model.onnx").write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"model\.onnx has changed") as caught:
        verify(copied)
    assert caught.value.exit_code == 4


def test_another_network_under_a_valid_manifest_fails_parity(exported: Path, copied: Path) -> None:
    named = {entry.key: entry.value for entry in onnx.load(copied / "model.onnx").metadata_props}
    other = onnx.load(exported / "exports" / "student" / "chest" / NAME / "model.onnx")
    onnx.helper.set_model_props(other, named)
    onnx.save(other, copied / "model.onnx")
    new = {"onnx_digest": digest_file(copied / "model.onnx"), "size_bytes": (copied / "model.onnx").stat().st_size}
    write_json(copied / "export.json", read_json(copied / "export.json") | new)
    write_manifest(copied, "export", synthetic=False)
    with pytest.raises(ParityError, match=r"differs from its samples by .*required: at most") as caught:
        verify(copied)
    assert caught.value.exit_code == 4


def test_an_export_of_an_earlier_expert_is_refused(exported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(exported, tmp_path / "run")
    expert = run / "experts" / "chest"
    write_manifest(expert, "expert", synthetic=False, parent=read_manifest(run), inputs="another")
    assert digest_file(expert / "manifest.json") != digest_file(exported / "experts" / "chest" / "manifest.json")
    with pytest.raises(ArtifactError, match=r"is not the expert that .* was made from"):
        verify(run / "exports" / "chest" / NAME)


def test_an_export_for_another_machine_is_listed_as_not_run(exported: Path, tmp_path: Path) -> None:
    run = shutil.copytree(exported, tmp_path / "run")
    with pytest.raises(MissingRuntimeError):
        export(run, region="chest", target="trt", profile="h200", owners=("expert",))
    document = verify(run, region="chest").to_json()
    assert {row["status"] for row in document["exports"]} == {"passed"}
    assert [row["target"] for row in document["not_run"]] == ["trt"]
    assert "was not verified" in document["warnings"][-1]
    for options in ({"path": run / "exports" / "chest" / "trt-h200-fp32"}, {"run": run, "target": "trt"}):
        with pytest.raises(MissingRuntimeError, match="TensorRT"):
            verify(**options)


def test_an_error_beyond_tolerance_fails(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.TOLERANCES, "fp32", -1.0)
    with pytest.raises(ParityError, match=r"differs from its source"):
        verify(exported, region="chest")
    assert read_json(exported / "exports" / "chest" / NAME / "export.json")["parity"]["status"] == "passed"
