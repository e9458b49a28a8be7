"""Published weights of a foundation that are fine-tuned on all regions before they teach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorkit.decompose import train
from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.config import Config, default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Saved, Validated
from lorkit.decompose.models.backbones.registry import BACKBONES, Known, build_backbone
from lorkit.decompose.models.foundation.model import Foundation, load_foundation
from lorkit.decompose.runs import open_run
from lorkit.decompose.training.foundation.pretraining import foundation_settings
from lorkit.decompose.training.training import pretrain

WIDE = "tiny_resnet_wide"


@pytest.fixture
def published(tiny: None, tmp_path: Path) -> dict[str, Tensor]:
    """Write weights of the foundation's backbone to `published.safetensors`."""
    torch.manual_seed(7)
    state = build_backbone(WIDE, channels=1, image_size=(16, 16)).state_dict()
    state = {key: value + 0.01 if value.is_floating_point() else value for key, value in state.items()}
    save_file(state, tmp_path / "published.safetensors")
    return state


@pytest.fixture
def tuned(configured: Callable[..., Config], tmp_path: Path, published: dict[str, Tensor]) -> Callable[..., Config]:
    """Configure a fine-tuned foundation: `tuned(epochs=1, ...)`."""

    def make(*, method: str = "rd", regions: str = "all", weights: Path | None = None, **finetune: object) -> Config:
        stated = ", ".join(f"{key}: {value}" for key, value in {"epochs": 1, **finetune}.items())
        settings: dict[str, Any] = {"foundation.weights": weights or tmp_path / "published.safetensors"}
        settings |= {"foundation.finetune": f"{{{stated}}}", "foundation.regions": regions}
        return configured(tmp_path, method=method, **settings)

    return make


def moved(foundation: Foundation, state: dict[str, Tensor]) -> set[str]:
    own = foundation.model.backbone.state_dict()
    return {key for key, value in state.items() if not torch.equal(own[key], value)}


def test_weights_are_fine_tuned_recorded_and_found_again(
    tuned: Callable[..., Config], tmp_path: Path, published: dict[str, Tensor]
) -> None:
    path = tmp_path / "published.safetensors"
    result = train(tuned(), out=tmp_path / "runs")
    (directory,) = (tmp_path / "foundations").glob("[!.]*")
    foundation = load_foundation(directory)
    assert moved(foundation, published) >= {"conv1.weight", "bn1.running_mean", "layer4.0.weight"}
    assert dict(foundation.heads) == {"chest": "own", "knee": "own"}
    assert set(foundation.source) == {"finetuned", "from"}
    assert foundation.source["from"]["weights"] == digest_file(path)
    taught = load_foundation(result.run / "foundation")
    assert taught.digest == foundation.digest
    assert taught.source == foundation.source
    events: list[Any] = []
    train(tuned(method="stl-kd"), out=tmp_path / "runs", on_event=events.append)
    assert any("foundation" in str(one) and "is up to date" in str(one) for one in events)
    untouched = tuned().model_copy(
        update={"foundation": tuned().foundation.model_copy(update={"finetune": None}), "method": "kd"}
    )
    run = open_run(train(untouched, out=tmp_path / "runs").run)
    assert not moved(load_foundation(run.path / "foundation"), published)
    assert len(list((tmp_path / "foundations").glob("[!.]*"))) == 1


def test_its_settings_are_the_foundations_alone(
    tuned: Callable[..., Config], tmp_path: Path, published: dict[str, Tensor]
) -> None:
    config = tuned(epochs=3, lr=0.5, freeze_epochs=3, layer_decay=0.5)
    settings = foundation_settings(config)
    assert (settings.epochs, settings.lr, settings.freeze_epochs, settings.layer_decay) == (3, 0.5, 3, 0.5)
    assert foundation_settings(tuned()).lr == config.train.lr
    assert (config.train.freeze_epochs, config.train.layer_decay) == (0, None)
    found = pretrain(config, out=tmp_path / "foundations")
    assert found is not None
    assert not moved(load_foundation(found), published)  # frozen to the end
    places = [pretrain(tuned(lr=lr, regions="[chest]"), out=tmp_path / "foundations") for lr in (0.1, 0.2)]
    assert len({found, *places}) == 3
    assert load_foundation(places[0]).regions.names == ("chest",)


def test_an_interrupted_fine_tuning_ends_as_an_uninterrupted_one(tuned: Callable[..., Config], tmp_path: Path) -> None:
    config = tuned(epochs=2)

    def stop(event: object) -> None:
        if isinstance(event, Saved) and event.phase == "foundation":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "one" / "runs", on_event=stop)
    events: list[Any] = []
    train(config, out=tmp_path / "one" / "runs", resume=True, on_event=events.append)
    epochs = [one.epoch for one in events if isinstance(one, Validated) and one.phase == "foundation"]
    assert epochs == [1]
    train(config, out=tmp_path / "two" / "runs")
    paths = [next((tmp_path / name / "foundations").glob("[!.]*")) for name in ("one", "two")]
    assert paths[0].name == paths[1].name
    one, two = (load_foundation(path).model.state_dict() for path in paths)
    assert all(torch.equal(value, two[key]) for key, value in one.items())


def test_a_foundation_of_other_regions_is_fine_tuned_with_its_heads(
    configured: Callable[..., Config], tuned: Callable[..., Config], tmp_path: Path
) -> None:
    earlier = pretrain(configured(tmp_path, **{"foundation.regions": "[chest]"}), out=tmp_path / "foundations")
    assert earlier is not None
    given = load_foundation(earlier)
    found = pretrain(tuned(weights=earlier, epochs=1, lr=1e-12), out=tmp_path / "foundations")
    assert found is not None
    foundation = load_foundation(found)
    assert foundation.regions.names == ("chest", "knee")
    torch.testing.assert_close(foundation.model.heads["chest"].weight, given.model.heads["chest"].weight)
    assert foundation.source["from"]["manifest"] == digest_file(earlier / "manifest.json")


def test_what_cannot_be_fine_tuned_is_refused(
    tuned: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for settings, message in (
        (["foundation.finetune={epochs: 1}"], "foundation.weights to fine-tune; a foundation without them"),
        (
            ["foundation.finetune={epochs: 1}", "foundation.weights=a.onnx", "foundation.features=[x]"],
            "no foundation.finetune with an ONNX file",
        ),
        (["foundation.weights=a.pth", "foundation.finetune={}"], r"missing key 'foundation.finetune.epochs'"),
        (
            ["foundation.weights=a.pth", "foundation.finetune={epochs: 1, freeze_epochs: 2}"],
            r"finetune.freeze_epochs up to finetune.epochs \(1\), not 2",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            default_config(overrides=settings)

    monkeypatch.setitem(BACKBONES, WIDE, Known(lambda channels, size: BACKBONES["tiny"].build(channels, size)))
    torch.manual_seed(0)
    save_file(build_backbone(WIDE, channels=1, image_size=(16, 16)).state_dict(), tmp_path / "stageless.safetensors")
    config = tuned(weights=tmp_path / "stageless.safetensors", layer_decay=0.5)
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=r"foundation.finetune.layer_decay for .* whose stages are unknown"):
            train(config, out=tmp_path / "runs", dry_run=dry_run)
