"""Two gloo processes train what one process would on the joined batches, absent regions included.

With micro-batches of 2, each holds one region of three and gradients wait for the last one before they are shared. With
a U-Net, region c has masks: the others do not reach the decoder.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from forked_ranks import Ranks

from lorkit.decompose.artifacts import load_tensors, read_json
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.data import PreparedRegion, prepare, read_regions
from lorkit.decompose.data.batches.loader import Batch, BatchLoader
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.methods.distillation.predistillation import build_predistilled
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import Foundation, load_foundation
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs.locked_data import locked_splits
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.loop.optimizer import build_optimizer, learning_rate
from lorkit.decompose.training.predistillation import PREDISTIL

# A network without batch statistics, which several CPU processes could not share; batches of 4 hold 2 of 3 regions.
# SGD, because AdamW divides by the gradient's own size and so enlarges what only the order of a sum changes.
SETTINGS = """
name: ranks
method: METHOD
image: {size: 16, channels: 1}
regions: {a: {data: a.npz}, b: {data: b.npz}, c: {data: c.npz}}
foundation: {backbone: TEACHER, weights: teacher.pth}
student: {backbone: STUDENT}
train: {epochs: 1, accumulate: PIECES, batch_size: 4, devices: 2, accelerator: cpu, warmup_epochs: 0,
        sampling: balanced, clip_norm: 5, optimizer: sgd, lr: 0.05, weight_decay: 0.0001}
lorkd: {rank: 2}
mola: {rank: 2}
"""
Build = Callable[[Config, RegionSet, Foundation], TrainingModule]
# sums over every pixel in another order
ROUNDING = {"tiny_vit": 2e-6, "tiny_unet": 1e-5}
SCRIPT = """
import sys
sys.modules["torchmetrics"] = None  # Lightning imports it, for seconds, to learn its version
import torch
torch.set_num_threads(1)
from lorkit.decompose import load_config, train
print(train(load_config(sys.argv[1]), out=sys.argv[2]).run)
"""


def write(directory: Path, method: str, pieces: int, student: str, teacher: str = "tiny_resnet") -> Config:
    for seed, name in enumerate("abc"):
        images = np.random.default_rng(seed).integers(0, 255, (16, 16, 16), dtype=np.uint8)
        targets = {"labels": np.arange(16) % 2, "label_names": np.array(("no", "yes"))}
        if student == "tiny_unet" and name == "c":
            targets = {"masks": (images > 128).astype(np.uint8), "mask_names": np.array(("background", "bright"))}
        np.savez(directory / f"{name}.npz", images=images, **targets)
    torch.manual_seed(1)
    torch.save(build_backbone(teacher, channels=1, image_size=(16, 16)).state_dict(), directory / "teacher.pth")
    words = {"METHOD": method, "PIECES": str(pieces), "STUDENT": student, "TEACHER": teacher}
    text = SETTINGS
    for word, value in words.items():
        text = text.replace(word, value)
    (directory / "decompose.yaml").write_text(text, encoding="utf-8")
    return load_config(directory / "decompose.yaml")


def reference(config: Config, run: Path, build: Build | None = None) -> tuple[dict[str, torch.Tensor], int]:
    """Train in one process, without the loop of `training`, on what both ranks are dealt; also count absences.

    `build` gives the module, by default that of the method.
    """
    samples = read_regions(config)
    splits = locked_splits(read_json(run / "splits.json", kind="splits"), samples, DirectoryKey(run.parent))
    parts: dict[str, PreparedRegion] = {
        name: prepare(one, build_recipe(config.image, config.regions[name]), indices=splits.parts(name)["train"])
        for name, one in samples.items()
    }
    regions = RegionSet(one.region for one in samples.values())
    foundation = load_foundation(run / "foundation")
    torch.manual_seed(config.seed)
    module = (build or get_method(config.method).build)(config, regions, foundation)
    optimizer = build_optimizer(module.parameter_groups(config.train), config.train)
    loaders = [
        BatchLoader(
            parts,
            regions,
            batch_size=4,
            sampling="balanced",
            seed=0,
            augment=config.train.augment,
            rank=r,
            world_size=2,
        )
        for r in range(2)
    ]
    absent = 0
    for step, both in enumerate(zip(*loaders, strict=True)):
        batch = Batch(*(_joined(pair) for pair in zip(*(one[:4] for one in both), strict=True)))
        absent += 3 - len(batch.region.unique())
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.train, step, len(loaders[0]))
        with torch.no_grad():
            teacher = foundation.model(batch.image, batch.region)
        with module.live.scope(batch.region):
            total(module(batch, teacher)).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 5)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return module.live.state_dict(), absent


def _joined(pair: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Join the parts of both ranks; targets of different shapes flat and filled, as in one batch."""
    if len({one.shape[1:] for one in pair}) == 1:
        return torch.cat(pair)
    flat = [one.reshape(len(one), -1) for one in pair]
    width = max(one.shape[1] for one in flat)
    return torch.cat([torch.nn.functional.pad(one, (0, width - one.shape[1]), value=-1) for one in flat])


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    found = Ranks()
    yield found
    found.close()


def train_on_forked_ranks(ranks: Ranks, tmp_path: Path) -> Path:
    ranks.train(tmp_path / "decompose.yaml", tmp_path / "runs")
    return only_run(tmp_path)


def train_on_started_ranks(tmp_path: Path) -> Path:
    """Train as a user does: a script, whose process starts the second one."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(script), str(tmp_path / "decompose.yaml"), str(tmp_path / "runs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    return only_run(tmp_path)


def only_run(tmp_path: Path) -> Path:
    runs = [path for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")]
    assert len(runs) == 1
    return runs[0]


# the decorrelation of mola-router and hard-router compares the samples of a micro-batch on all ranks
@pytest.mark.parametrize(
    ("method", "pieces", "student"),
    [
        ("lorkd", 2, "tiny_vit"),
        ("mola-grad", 2, "tiny_vit"),
        ("mola-router", 1, "tiny_vit"),
        ("hard-router", 1, "tiny_vit"),
        ("mmoe", 2, "tiny_vit"),
        ("lorkd", 2, "tiny_unet"),
    ],
)
def test_two_ranks_are_one_process_on_their_joined_batches(
    tiny: None, ranks: Ranks, tmp_path: Path, method: str, pieces: int, student: str
) -> None:
    config = write(tmp_path, method, pieces, student)
    run = train_on_forked_ranks(ranks, tmp_path)
    expected, absent = reference(config, run)
    assert absent > 0
    trained = load_tensors(run / "model.safetensors")
    assert trained.keys() == expected.keys()
    for name, tensor in trained.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=ROUNDING[student], msg=name)


def test_two_ranks_predistil_what_one_process_would(tiny: None, ranks: Ranks, tmp_path: Path) -> None:
    """The heads are not trained, and a micro-batch has one region of three."""
    write(tmp_path, "fitnet", 2, "tiny_vit")
    file = tmp_path / "decompose.yaml"
    text = file.read_text(encoding="utf-8").replace("tiny_vit}", "tiny_vit, predistil: {epochs: 1}}")
    file.write_text(text, encoding="utf-8")
    run = train_on_forked_ranks(ranks, tmp_path)
    config = load_config(file)
    expected, absent = reference(
        config, run, lambda one, regions, known: build_predistilled(one, one.train, regions, known)
    )
    assert absent > 0
    found = torch.load(run / "checkpoints" / PREDISTIL / "epoch-0001.pt", weights_only=True)["module"]
    for name, tensor in expected.items():
        torch.testing.assert_close(found[f"live.{name}"], tensor, rtol=1e-4, atol=ROUNDING["tiny_vit"], msg=name)


def test_two_ranks_leave_a_frozen_backbone_alone(tmp_path: Path) -> None:
    """DDP waits for gradients of all weights that it saw at its start, and gets them from frozen ones too."""
    write(tmp_path, "lorkd", 2, "vit_tiny", "shufflenet_v2_x1_0")
    file = tmp_path / "decompose.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("{epochs: 1,", "{epochs: 1, freeze_epochs: 1,"))
    trained = load_tensors(train_on_started_ranks(tmp_path) / "model.safetensors")
    config = load_config(file)
    torch.manual_seed(config.seed)
    regions = RegionSet(one.region for one in read_regions(config).values())
    start = get_method("lorkd").network(config, regions).state_dict()
    assert trained.keys() == start.keys()
    moved = {name for name, value in start.items() if not torch.equal(trained[name], value)}
    assert not {name for name in moved if name.startswith("backbone.") and ".up." not in name and ".down." not in name}
    assert {name for name in start if name.startswith("heads.")} < moved
    assert any(".up." in name for name in moved)
