"""A student that starts from published weights, whatever the method, and files that cannot be one."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_methods import REGIONS, make_foundation
from torch import Tensor, nn

from lorkit.decompose import train
from lorkit.decompose.artifacts import digest_file, read_json, read_manifest
from lorkit.decompose.config import Config, default_config, load_config, with_overrides
from lorkit.decompose.errors import ArtifactError, DataError
from lorkit.decompose.events import Notice
from lorkit.decompose.experts import factor_parameters
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.student import match_student_weights, resolve_student, student_notices
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.live_model import load_model
from lorkit.decompose.training.training import pretrain

OF_STUDENTS = [name for name, one in METHODS.items() if not one.starts_from_foundation and not one.of_graphs]


def published(backbone: str, channels: int = 1) -> dict[str, Tensor]:
    """Return weights that no initialisation gives, with a classifier as published files have one."""
    generator = torch.Generator().manual_seed(5)
    state = build_backbone(backbone, channels=channels, image_size=(16, 16)).state_dict()
    drawn = {
        key: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value + 7
        for key, value in state.items()
    }
    return drawn | {"fc.weight": torch.zeros(1000, 8), "fc.bias": torch.zeros(1000)}


def write(directory: Path, state: dict[str, Tensor], name: str = "published.safetensors") -> Path:
    save_file({key: value.contiguous() for key, value in state.items()}, directory / name)
    return directory / name


def lacking(live: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Return the published tensors that no tensor of the same last name in a live model is equal to."""
    own = list(live.state_dict().items())
    return [
        key
        for key, value in state.items()
        if not key.startswith("fc.")
        and not any(name.rpartition(".")[2] == key.rpartition(".")[2] and torch.equal(value, one) for name, one in own)
    ]


@pytest.mark.parametrize("name", OF_STUDENTS)
def test_every_method_that_trains_a_student_starts_from_the_weights(name: str, tmp_path: Path) -> None:
    state = published("shufflenet_v2_x1_0")
    path = write(tmp_path, state)
    config, foundation = make_foundation(f"student.weights={path}")
    method = get_method(name)
    built = []
    for one in (config, with_overrides(config, ["student.weights=null"])):
        torch.manual_seed(3)
        built.append(method.build(one, method.phases(REGIONS)[0], foundation))
    started, fresh = (module.live for module in built)
    assert not lacking(started, state)
    assert len(lacking(fresh, state)) > 50
    # what published weights do not have is as it would be without them: factors, heads, routers
    for own, other in zip(factor_parameters(started), factor_parameters(fresh), strict=True):
        assert torch.equal(own, other)
    for own, other in zip(started.heads.parameters(), fresh.heads.parameters(), strict=True):
        assert torch.equal(own, other)


def test_the_run_states_the_weights_and_needs_their_file_no_more(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    state = published("tiny_resnet")
    path = write(tmp_path, {f"net.{key}": value for key, value in state.items()})
    settings = {"student.weights": path, "student.key_map": '{"net.": ""}', "train.lr": 1e-12, "train.weight_decay": 0}
    config = configured(tmp_path, method="stl", **settings)
    events: list[Any] = []
    result = train(config, out=tmp_path / "runs", on_event=events.append)
    match = "30 of 30 backbone tensors matched, 2 of its classifier left out"
    assert any(isinstance(one, Notice) and one.text == f"{path}: {match}" for one in events)
    record = {"weights": digest_file(path), "report": match}
    assert read_manifest(result.run, kind="run").extra["student"] == record
    assert train(config, out=tmp_path / "runs").up_to_date
    moved = path.rename(tmp_path / "elsewhere.safetensors")
    again = configured(tmp_path, method="stl", **(settings | {"student.weights": moved}))
    assert train(again, out=tmp_path / "runs").up_to_date  # the content counts, not the place
    moved.write_bytes(b"")
    run = open_run(result.run)
    learnt = {key: value for key, value in state.items() if "running" not in key and "num_batches" not in key}
    assert load_model(run.path).models["chest"].backbone.conv1.weight.allclose(learnt["conv1.weight"], atol=1e-6)
    extract(run, region="chest")
    expert = run.experts_dir / "chest"
    assert read_json(expert / "expert.json")["made_from"]["student_weights"] == record["weights"]
    assert f"student from published weights of SHA-256 `{record['weights']}`" in (expert / "README.md").read_text()


@pytest.mark.skipif(find_spec("timm") is None, reason="the extra 'timm' is not installed")
def test_timm_states_the_normalisation_unless_the_user_does() -> None:
    settings = ["image.channels=3", "student.backbone=timm:tf_efficientnet_lite0", "student.weights=a.pth"]
    found = resolve_student(default_config(overrides=settings))
    assert (found.image.mean, found.image.std) == ((0.5,) * 3, (0.5,) * 3)
    assert found.foundation_image == found.image
    stated = [*settings, "image.mean=[0.1, 0.2, 0.3]", "image.std=[1, 1, 1]"]
    assert resolve_student(default_config(overrides=stated)).image.mean == (0.1, 0.2, 0.3)
    fresh = default_config(overrides=[*settings[:2]])
    assert resolve_student(fresh) is fresh


def test_unusable_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    state = published("shufflenet_v2_x1_0", channels=3)
    path = write(tmp_path, state)
    config, foundation = make_foundation(f"student.weights={path}")
    method = get_method("mtl")

    def refusal(config: Config = config) -> str:
        with pytest.raises(ArtifactError) as caught:
            method.build(config, REGIONS, foundation)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is for images of 3 channels, image.channels is 1" in refusal()
    assert "set image.channels to 3" in refusal()
    write(tmp_path, published("resnet18"))
    assert "fits the backbone in" in refusal()
    assert "student.key_map" in refusal()
    own = published("shufflenet_v2_x1_0")
    write(tmp_path, own | {"conv5.0.weight": torch.full_like(own["conv5.0.weight"], torch.nan)})
    assert "holds NaN or infinity" in refusal()
    write(tmp_path, {f"net.{key}": value for key, value in own.items()})
    assert 'set student.key_map: {"net.": ""}' in refusal()
    wrong = with_overrides(config, ['student.key_map={"module.": ""}'])
    assert "starts with 'module.' of student.key_map" in refusal(wrong)
    assert match_student_weights(config, get_method("finetune"), REGIONS) is None  # it trains no student


def test_missing_weights_are_refused_before_anything_is_read(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = configured(tmp_path, **{"student.weights": "absent.pth"})
    assert load_config(tmp_path / "decompose.yaml", overrides=["student.weights=absent.pth"]) == config
    with pytest.raises(DataError, match=r"student.weights: no file .*absent.pth"):
        train(config, out=tmp_path / "runs")
    made = pretrain(configured(tmp_path), out=tmp_path / "foundations")
    with pytest.raises(DataError, match=r"student.weights: .* is a directory; .*heads"):
        train(configured(tmp_path, **{"student.weights": made}), out=tmp_path / "runs")
    # and what that message proposes works, here with the foundation's own backbone as the student
    key_map = '{"backbone.": "", "normalise.": null, "heads.": null}'
    settings = {"student.weights": f"{made}/model.safetensors", "student.key_map": key_map}
    same = {"student.backbone": configured(tmp_path).foundation.backbone}
    train(configured(tmp_path, method="mtl", **settings, **same), out=tmp_path / "runs")


def test_settings_for_trained_weights_are_told_to_a_fresh_student(tmp_path: Path) -> None:
    stated = default_config(overrides=["train.layer_decay=0.5", "train.freeze_epochs=1"])
    texts = student_notices(stated, get_method("lorkd"))
    assert [text.split(" is for")[0] for text in texts] == ["train.layer_decay", "train.freeze_epochs"]
    assert student_notices(stated, get_method("finetune")) == []
    assert student_notices(default_config(overrides=["student.stem=small"]), get_method("lorkd")) == []
    assert student_notices(default_config(), get_method("lorkd")) == []
    loaded = stated.model_copy(update={"student": stated.student.model_copy(update={"weights": "some.pth"})})
    assert student_notices(loaded, get_method("lorkd")) == []


@pytest.mark.parametrize("name", [name for name in METHODS if name not in OF_STUDENTS and not METHODS[name].of_graphs])
def test_a_student_that_is_not_trained_is_told(name: str) -> None:
    small = default_config(overrides=["student.stem=small"])
    (text,) = student_notices(small, get_method(name))
    assert text == f"student.stem small has no effect on method {name}: it trains the foundation"
    weights = small.student.model_copy(update={"weights": "some.pth", "stem": "usual"})
    (text,) = student_notices(small.model_copy(update={"student": weights}), get_method(name))
    assert text.startswith("student.weights has no effect")
