"""Every method on a region of masks and one of classes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_runs import register_tiny

from lorkit.decompose.config import load_config
from lorkit.decompose.methods import METHODS
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.networks import RunNetworks
from lorkit.decompose.training.training import pretrain, train

OUTPUTS = {"square": (2, 32, 32), "side": (2,)}
NEEDS = {
    **dict.fromkeys(("lora", "lora-kd"), ("peft",)),
    **dict.fromkeys(("mtl-pcgrad", "mtl-aligned"), ("torchjd",)),
    "mtl-cagrad": ("torchjd", "cvxpy", "clarabel"),
    "mtl-upgrad": ("torchjd", "qpsolvers", "quadprog"),
    "mtl-nash": ("torchjd", "cvxpy", "ecos"),
}


def write_regions(root: Path) -> None:
    """Write squares on noise with their masks, and the side of the image on which other squares are."""
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 80, (40, 32, 32), dtype=np.uint8), np.zeros((40, 32, 32), np.uint8)
    for number in range(40):
        top, left = int(rng.integers(0, 16)), 16 * (number % 2)
        masks[number, top : top + 16, left : left + 16] = 1
    images += masks * 150
    np.savez(root / "square.npz", images=images[:20], masks=masks[:20], mask_names=np.array(["background", "square"]))
    np.savez(root / "side.npz", images=images[20:], labels=np.arange(20) % 2)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with both regions, a configuration, and a foundation of both tasks."""
    root = tmp_path_factory.mktemp("mixed")
    write_regions(root)
    document = {
        "image": {"size": 32, "channels": 1},
        "split": {"val": 0.3, "test": 0.2},
        "regions": {"square": {"data": "square.npz"}, "side": {"data": "side.npz"}},
        "foundation": {"backbone": "tiny_resnet_wide", "epochs": 1},
        "student": {"backbone": "tiny_resnet"},
        "train": {"epochs": 1, "batch_size": 10, "lr": 0.01, "warmup_epochs": 0, "accelerator": "cpu"},
        "mola": {"adapters": 2},
        "mmoe": {"experts": 2},
    }
    (root / "decompose.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        register_tiny(patch.setitem)
        foundation = pretrain(load_config(root / "decompose.yaml"))
        document["foundation"] = {"backbone": "tiny_resnet_wide", "weights": str(foundation)}
        (root / "decompose.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
        yield root


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if not (one.of_graphs or one.of_maps)])
def test_both_tasks_are_trained_and_extracted(workspace: Path, method: str) -> None:
    if any(importlib.util.find_spec(package) is None for package in NEEDS.get(method, ())):
        pytest.skip("an extra is not installed")
    config = load_config(workspace / "decompose.yaml", method=method)
    run = open_run(train(config).run)
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert {region for row in rows for region in row["val"][row["metric"]]} == set(OUTPUTS)
    values = [value for row in rows for term in row["loss"].values() for value in term.values()]
    assert np.isfinite(values).all()
    networks, image = RunNetworks(run), torch.rand(2, 1, 32, 32)
    for region, outputs in OUTPUTS.items():
        with torch.no_grad():
            expected = networks.live.eval()(image, region).logits[region]
            torch.testing.assert_close(networks.expert(region)(image), expected, rtol=1e-4, atol=1e-4)
            assert networks.student(region)(image).shape[1:] == outputs
            assert networks.foundation(region)(image).shape[1:] == outputs
        assert expected.shape[1:] == outputs
