"""Weights of timm in the user's cache: found without a network, and asked for in one line where they are missing."""

from __future__ import annotations

import socket
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from safetensors.torch import save_file
from small_methods import REGIONS

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import compared_methods
from lorkit.decompose.methods.student import resolve_student, student_backbone
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.backbones.timm_cache import cached_timm_weights
from lorkit.decompose.training.foundation.resolving import resolve_foundation

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="the extra 'timm' is not installed")
NAME, REPOSITORY = "timm:test_efficientnet", "timm/test_efficientnet.r160_in1k"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, on a machine without a network."""
    import huggingface_hub.constants

    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "hub"


def put(cache: Path, name: str = "model.safetensors") -> Path:
    """Put weights into the cache, as the hub's own client lays them out."""
    home = cache / f"models--{REPOSITORY.replace('/', '--')}"
    folder = home / "snapshots" / "0123abc"
    folder.mkdir(parents=True, exist_ok=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text("0123abc")
    torch.manual_seed(4)
    state = build_backbone(NAME, channels=3, image_size=(32, 32)).state_dict()
    save_file(state, folder / name) if name.endswith("safetensors") else torch.save(state, folder / name)
    return folder / name


def test_cached_weights_are_found_by_foundation_and_student(cache: Path) -> None:
    older = put(cache, "pytorch_model.bin")
    assert cached_timm_weights(NAME, "student.weights") == older
    path = put(cache)
    assert cached_timm_weights(f"{NAME}.r160_in1k", "student.weights") == path
    names = [f"{one}.{key}" for one in ("student", "foundation") for key in (f"backbone={NAME}", "weights=timm")]
    regions = "regions={a: {data: x}, b: {data: x}}"
    config = default_config(overrides=[regions, "image.channels=3", *names])
    assert config.student.weights == config.foundation.weights == "timm"  # no path beside the file
    found = resolve_foundation(resolve_student(config))
    assert found.student.weights == found.foundation.weights == str(path)
    torch.manual_seed(4)
    fresh = build_backbone(NAME, channels=3, image_size=(32, 32)).state_dict()
    torch.manual_seed(5)
    started = student_backbone(found, REGIONS).state_dict()
    assert all(torch.equal(value, started[key]) for key, value in fresh.items())
    (variant,) = compared_methods(config, [], [f"own:mtl:student.weights=timm,student.backbone={NAME}"])
    assert variant.config.student.weights == str(path)


def test_absent_weights_are_refused_with_the_command_that_fetches_them(cache: Path) -> None:
    command = rf"hf download {REPOSITORY} model.safetensors$"
    for section, resolve in (("student", resolve_student), ("foundation", resolve_foundation)):
        config = default_config(overrides=[f"{section}.backbone={NAME}", f"{section}.weights=timm"])
        with pytest.raises(UsageError, match=rf"^{section}.weights: timm, but the cache .* {command}"):
            resolve(config)
    for backbone, message in (
        ("resnet18", "timm for backbone resnet18; required: a backbone of timm"),
        ("timm:no_such_network", "unknown backbone 'timm:no_such_network'"),
        ("timm:botnet50ts_256", "of which timm names no weights"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            cached_timm_weights(backbone, "student.weights")
        assert "\n" not in str(caught.value)
