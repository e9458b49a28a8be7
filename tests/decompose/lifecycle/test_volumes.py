"""A region of volumes more: the experts of the others stay the same bits, in encoder and decoder."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import yaml

from lorkit.decompose.artifacts import load_tensors
from lorkit.decompose.config import load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, Notice
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle import train_from
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.live_model import WEIGHTS
from lorkit.decompose.runs.networks import RunNetworks
from lorkit.decompose.training.training import train

SETTINGS = {
    "method": "lorkd",
    "image": {"size": [16, 16, 16], "channels": 1},
    "split": {"val": 0.25, "test": 0.25},
    "regions": {name: {"data": name, "structures": [name], "intensity": "percentile"} for name in ("box", "bar")},
    "foundation": {"backbone": "dynunet", "epochs": 1},
    "student": {"backbone": "dynunet"},
    "train": {"epochs": 1, "batch_size": 4, "lr": 0.01, "warmup_epochs": 0, "accelerator": "cpu"},
    "lorkd": {"rank": 4, "decoder_rank_factor": 0.5, "transposed": False},
}
NEW = ["regions.slab={data: slab, structures: [slab], intensity: percentile}", "lorkd.ranks={slab: 6}"]


def write_volumes(root: Path, seed: int, count: int = 8) -> None:
    rng = np.random.default_rng(seed)
    for case in range(count):
        image, mask = rng.integers(0, 80, (16, 16, 16)).astype(np.int16), np.zeros((16, 16, 16), np.uint8)
        mask[4 : 8 + case % 3, 3 : 9 + seed, 4:12] = 1
        image[mask > 0] += 120
        for folder, values in (("images", image), ("labels", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), root / folder / f"{case}.nii.gz")


@pytest.fixture(scope="module")
def grown_volumes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, list[Event]]:
    """A run of two regions of volumes, the run with a third one, and the events of its training."""
    root = tmp_path_factory.mktemp("volumes")
    for seed, name in enumerate(("box", "bar", "slab")):
        write_volumes(root / name, seed)
    (root / "d.yaml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False), encoding="utf-8")
    events: list[Event] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        old = open_run(root / train(load_config(root / "d.yaml")).run)
        new = train_from(old.path, overrides=NEW, add_region="slab", on_event=events.append)
        return old, open_run(root / new.run), events


def test_the_other_experts_are_the_same_bits(
    grown_volumes: tuple[Run, Run, list[Event]], tmp_path: Path, without_program: None
) -> None:
    old, new, events = grown_volumes
    before = extract(old, region="box,bar", out=tmp_path / "old")
    after = extract(new, region="box,bar", out=tmp_path / "new")
    for one, other in zip(before, after, strict=True):
        expected, found = load_tensors(one.path / WEIGHTS), load_tensors(other.path / WEIGHTS)
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    count = len(load_tensors(old.path / WEIGHTS))
    (text,) = [event.text for event in events if isinstance(event, Notice) and "bit by bit" in event.text]
    assert text == f"box, bar: unchanged, {count} of {count} tensors of {old.id} are equal bit by bit"


def test_the_new_region_has_experts_of_its_own_ranks_that_were_trained(
    grown_volumes: tuple[Run, Run, list[Event]],
) -> None:
    _, new, _ = grown_volumes
    ranks, trained = set(), False
    for name, layer in expert_layers(RunNetworks(new).live).items():
        down, up = layer.down, layer.up  # type: ignore[union-attr]
        ranks.add(("upsamples" in name, down["box"].shape[0], down["slab"].shape[0]))  # type: ignore[index, union-attr]
        trained |= bool(up["slab"].any())  # type: ignore[index, operator, union-attr]
    assert ranks == {(False, 4, 6), (True, 2, 3)}
    assert trained


def test_the_shape_of_the_experts_cannot_change(grown_volumes: tuple[Run, Run, list[Event]]) -> None:
    old, _, _ = grown_volumes
    for key, value in (("decoder_rank_factor", 0.25), ("transposed", True)):
        with pytest.raises(UsageError, match=rf"lorkd\.{key} = .* for region 'slab', where the run has"):
            train_from(old.path, overrides=[*NEW, f"lorkd.{key}={value}"], add_region="slab")
