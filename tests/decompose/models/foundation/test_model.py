from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from resealing import seal_manifest

from lorkit.decompose.artifacts import MANIFEST, digest_file, load_tensors, save_tensors, write_json
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation, load_foundation, save_foundation, with_regions
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name="brain", classes=("a", "b")), Region(name="chest", classes=("a", "b", "c"))])
IMAGE = {"size": (32, 32), "channels": 1, "mean": (0.5,), "std": (0.25,)}


def written(directory: Path) -> Foundation:
    torch.manual_seed(0)
    backbone = build_backbone("shufflenet_v2_x1_0", channels=1, image_size=(32, 32))
    foundation = Foundation(
        model=RegionalModel(backbone, REGIONS, mean=(0.5,), std=(0.25,)),
        backbone="shufflenet_v2_x1_0",
        regions=REGIONS,
        heads={"brain": "own", "chest": "probe"},
        image=IMAGE,
        source={"pretrained": True},
    )
    save_foundation(foundation, directory, synthetic=True, inputs="digest")
    return foundation


def reseal(directory: Path, name: str) -> None:
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["files"][name] = digest_file(directory / name)
    write_json(directory / MANIFEST, manifest)
    seal_manifest(directory)


def test_a_foundation_comes_back_whole(tmp_path: Path) -> None:
    foundation, back = written(tmp_path), load_foundation(tmp_path)
    image = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        expected = foundation.model.eval()(image, torch.tensor([1, 0, 1]))
        ours = back.model(image, torch.tensor([1, 0, 1]))
    assert all(torch.equal(ours.features[name], value) for name, value in expected.features.items())
    assert torch.equal(ours.logits["chest"], expected.logits["chest"])
    assert (back.heads, back.backbone, back.source) == (foundation.heads, foundation.backbone, foundation.source)
    assert back.regions.to_json() == REGIONS.to_json()
    assert not back.model.training


def test_changed_weights_are_found_by_digest(tmp_path: Path) -> None:
    written(tmp_path)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="has changed since it was written"):
        load_foundation(tmp_path)


def test_weights_of_another_network_are_refused_even_when_sealed(tmp_path: Path) -> None:
    written(tmp_path)
    tensors = load_tensors(tmp_path / "model.safetensors")
    tensors["heads.brain.bias"] = torch.zeros(5)
    save_tensors(tmp_path / "model.safetensors", tensors)
    reseal(tmp_path, "model.safetensors")
    with pytest.raises(ArtifactError, match=r"1 tensors differ, such as 'heads.brain.bias'"):
        load_foundation(tmp_path)


def test_a_description_without_its_fields_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    document = json.loads((tmp_path / "foundation.json").read_text())
    del document["image"]
    write_json(tmp_path / "foundation.json", document)
    reseal(tmp_path, "foundation.json")
    with pytest.raises(ArtifactError, match="lacks its fields"):
        load_foundation(tmp_path)


def test_a_narrowed_foundation_answers_for_its_own_numbers(tmp_path: Path) -> None:
    foundation = written(tmp_path)
    foundation.model.eval()
    one = with_regions(foundation, RegionSet([REGIONS.get("chest")]))
    image = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = foundation.model(image, "chest").logits["chest"]
        assert torch.equal(one.model(image, torch.zeros(4, dtype=torch.int64)).logits["chest"], expected)
    assert (one.regions.names, dict(one.heads), one.source) == (
        ("chest",), {"chest": foundation.heads["chest"]}, foundation.source
    )  # fmt: skip
    assert one.model.backbone is foundation.model.backbone, "the weights are shared"
    assert with_regions(foundation, REGIONS) is foundation
    with pytest.raises(UsageError, match="liver"):
        with_regions(foundation, RegionSet([Region(name="liver", classes=("x", "y"))]))
