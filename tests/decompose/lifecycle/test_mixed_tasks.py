"""Regions of masks and of classes are added to a run, removed from it, and fine-tuned from its experts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_runs import register_tiny

from lorkit.decompose.artifacts import load_tensors
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle.adding import add_region
from lorkit.decompose.lifecycle.finetuning import finetune_expert
from lorkit.decompose.lifecycle.removing import remove_region
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.networks import RunNetworks
from lorkit.decompose.training.training import train

pytestmark = pytest.mark.usefixtures("without_program")
OUTPUTS = {"square": (2, 16, 16), "side": (2,), "corner": (2, 16, 16), "height": (2,)}


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """Return a function of a configuration of some regions: squares with masks, and where they are."""
    monkeypatch.chdir(tmp_path)
    register_tiny(monkeypatch.setitem)
    for seed, name in enumerate(OUTPUTS):
        rng = np.random.default_rng(seed)
        images, masks = rng.integers(0, 80, (24, 16, 16), dtype=np.uint8), np.zeros((24, 16, 16), np.uint8)
        places = 8 * (np.arange(24) % 2)
        for mask, place in zip(masks, places, strict=True):
            mask[place : place + 8, :8] = 1
        targets = {"masks": masks} if len(OUTPUTS[name]) > 1 else {"labels": np.arange(24) % 2}
        names = {"mask_names": np.array(["background", name])} if len(OUTPUTS[name]) > 1 else {}
        np.savez(tmp_path / f"{name}.npz", images=images + 150 * masks, **targets, **names)

    def configure(student: str, *regions: str) -> Config:
        document = {
            "name": f"{student}-{'-'.join(regions)}",
            "method": "lorkd",
            "image": {"size": 16, "channels": 1},
            "split": {"val": 0.25, "test": 0.25},
            "regions": {name: {"data": f"{name}.npz"} for name in regions},
            "foundation": {"backbone": "tiny_resnet_wide", "epochs": 1},
            "student": {"backbone": student},
            "train": {"epochs": 1, "batch_size": 8, "warmup_epochs": 0},
        }
        path = tmp_path / f"{len(list(tmp_path.glob('*.yaml')))}.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return load_config(path)

    return configure


def outputs(run: Path) -> dict[str, tuple[int, ...]]:
    networks, image = RunNetworks(open_run(run)), torch.rand(2, 1, 16, 16)
    for name in networks.live.regions.names:
        expected = networks.live.eval()(image, name).logits[name]
        torch.testing.assert_close(networks.expert(name)(image), expected, rtol=1e-4, atol=1e-4)
    return {name: tuple(networks.expert(name)(image).shape[1:]) for name in networks.live.regions.names}


def test_regions_come_and_go_with_the_decoder_of_a_unet(make: Callable[..., Config]) -> None:
    run = train(make("tiny_unet", "square", "side")).run
    more = add_region(open_run(run), "height", make("tiny_unet", "height")).run
    assert outputs(more) == {name: OUTPUTS[name] for name in ("square", "side", "height")}
    masks = add_region(open_run(run), "corner", make("tiny_unet", "corner")).run
    assert outputs(masks) == {name: OUTPUTS[name] for name in ("square", "side", "corner")}
    less = remove_region(open_run(run), "square").run
    assert outputs(less) == {"side": OUTPUTS["side"]}
    decoders = [[key for key in load_tensors(one / "model.safetensors") if ".ups." in key] for one in (run, less)]
    assert decoders[0]
    assert not decoders[1]
    with pytest.raises(UsageError, match=r"region 'corner' with masks for .* whose tiny_unet has no decoder"):
        add_region(open_run(less), "corner", make("tiny_unet", "corner"))
    experts = {one.region: load_expert(one.path) for one in extract(open_run(run))}
    tuned = finetune_expert(make("tiny_unet", "height"), experts["square"]).run
    assert outputs(tuned) == {"height": OUTPUTS["height"]}
    with pytest.raises(UsageError, match="a U-Net without its decoder"):
        finetune_expert(make("tiny_unet", "corner"), experts["side"])


def test_masks_come_to_a_classifier_through_its_stages(make: Callable[..., Config]) -> None:
    run = train(make("tiny_resnet", "side", "height")).run
    more = add_region(open_run(run), "corner", make("tiny_resnet", "corner")).run
    assert outputs(more) == {name: OUTPUTS[name] for name in ("side", "height", "corner")}
    (expert,) = extract(open_run(run), region="side")
    tuned = finetune_expert(make("tiny_resnet", "corner"), expert.path).run
    assert outputs(tuned) == {"corner": OUTPUTS["corner"]}
