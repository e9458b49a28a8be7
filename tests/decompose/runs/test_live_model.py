from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import TinyBackbone, TinyResNet

from lorkit.decompose.artifacts import write_json
from lorkit.decompose.config import Config, default_config, to_yaml
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.experts import expert_layers, fuse_
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.models.backbones.gated_encoders import GatedEncoders
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.models.routed import RoutedModel
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs.live_model import build_model, deployed_backbone, deploys_foundation, load_model, save_model

pytestmark = pytest.mark.usefixtures("tiny")
SMALL = (
    "image.size=32",
    "student.backbone=tiny",
    "foundation.backbone=tiny_resnet",
    "lorkd.rank=2",
    "lorkd.ranks={knee: 3}",
    "lorkd.depthwise=true",
    "mola.router=downscaled",
)


OF_IMAGES = [name for name, method in METHODS.items() if not method.of_graphs]


def config_of(method: str, *overrides: str) -> tuple[Config, RegionSet]:
    config = default_config(overrides=(*SMALL, *overrides), method=method)
    classes = {name: ("a", "b", "c")[: 2 + index % 2] for index, name in enumerate(config.regions)}
    return config, RegionSet(Region(name=name, classes=names) for name, names in classes.items())


def written(directory: Path, method: str) -> RegionalModel | SeparateModels:
    torch.manual_seed(0)
    config, regions = config_of(method)
    model = build_model(config, regions)
    (directory / "config.yaml").write_text(to_yaml(config))
    write_json(directory / "regions.json", {"regions": regions.to_json()})
    save_model(model, directory)
    return model.eval()


@pytest.mark.parametrize("method", OF_IMAGES)
def test_a_live_model_comes_back_whole(tmp_path: Path, method: str) -> None:
    model, image, ids = written(tmp_path, method), torch.rand(4, 1, 32, 32), torch.tensor([3, 0, 1, 3])
    back = load_model(tmp_path)
    assert type(back) is type(model)
    assert not back.training
    with torch.no_grad():
        for one, other in zip(back(image, ids), model(image, ids), strict=True):
            assert all(torch.equal(one[name], other[name]) for name in ("knee", "chest") if name in one)


def test_methods_differ_in_what_they_hold() -> None:
    student = "student.backbone=shufflenet_v2_x1_0"
    lorkd, mtl, stl = (build_model(*config_of(method, student)) for method in ("lorkd", "mtl", "stl"))
    assert len(expert_layers(lorkd)) == 37 + 19  # dense and depthwise convolutions of ShuffleNet V2
    assert not expert_layers(mtl)
    assert isinstance(stl, SeparateModels)
    assert expert_layers(lorkd)["backbone.conv5.0"].config.rank_of("knee") == 3


@pytest.mark.parametrize("method", OF_IMAGES)
def test_methods_deploy_the_students_or_the_foundations_network(method: str) -> None:
    config, regions = config_of(method)
    model = build_model(config, regions)
    adapts = method in ("finetune", "linear-probe", "lora")
    assert deploys_foundation(config) is adapts
    own = {"mmoe": "mmoe-3:tiny"}.get(method, "tiny")
    assert deployed_backbone(config) == ("tiny_resnet" if adapts else own)
    if not isinstance(model, RoutedModel):  # whose network of a region is no plain one
        kind = {"mmoe": GatedEncoders}.get(method, TinyResNet if adapts else TinyBackbone)
        assert type(model.plain_network("knee")) is kind
    assert isinstance(model, SeparateModels) is (len(get_method(method).phases(regions)) > 1)


def test_narrow_layers_can_be_left_shared() -> None:
    model = build_model(*config_of("lorkd", "lorkd.select_min_channels=100", "student.backbone=shufflenet_v2_x1_0"))
    assert "backbone.conv1.0" not in expert_layers(model)
    assert "backbone.conv5.0" in expert_layers(model)
    assert ("conv1.0", "not selected") in model.routing.skipped


def test_an_unknown_method_lists_the_known() -> None:
    config, regions = config_of("lorkd")
    with pytest.raises(UsageError, match=r"one of cka, cwd, .*linear-probe, lora, lora-kd, lorkd, .*mtl, .*stl-kd"):
        build_model(config.model_copy(update={"method": "lorka"}), regions)


def test_a_fused_model_is_not_saved(tmp_path: Path) -> None:
    model = written(tmp_path, "lorkd")
    fuse_(model, "knee")
    with pytest.raises(UsageError, match="an unmerged model to save"):
        save_model(model, tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "lorkd")
    config, _ = config_of("lorkd", "lorkd.rank=4")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    with pytest.raises(ArtifactError, match="does not fit its description"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["config.yaml", "regions.json", "model.safetensors"])
def test_a_missing_or_broken_file_is_one_clear_error(tmp_path: Path, name: str) -> None:
    written(tmp_path, "mtl")
    (tmp_path / name).write_bytes(b"{")
    with pytest.raises(ArtifactError):
        load_model(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError):
        load_model(tmp_path)
