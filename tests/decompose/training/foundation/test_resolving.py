"""A teacher of the user in the place of the foundation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lorkit.decompose import load_config, train
from lorkit.decompose.artifacts import read_json, read_manifest
from lorkit.decompose.config import Config, ImageConfig
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.data.batches.loader import Batch, BatchLoader
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.events import Notice
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.foundation.teacher import TeacherFeatures, weights_digest
from lorkit.decompose.models.stage_features import stage_view
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import open_run
from lorkit.decompose.training.foundation.resolving import foundation_from_teacher, resolve_foundation
from lorkit.decompose.training.loop.step import OptimizerStep
from lorkit.decompose.training.plan import untrained_foundation
from lorkit.decompose.training.training_data import prepare_for_teacher, prepare_parts

SEEN = ImageConfig(size=(24, 20), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


class Stubborn(nn.Module):
    """A user's teacher with a batch norm and dropout, whose `train` puts them back to life."""

    def __init__(self, stages: int = 4, image: ImageConfig = SEEN) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = image
        self.stem = nn.Sequential(nn.Conv2d(image.channels, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)) for _ in range(stages))
        self.digest = weights_digest(self)

    def train(self, mode: bool = True) -> Stubborn:
        return super().train(True)

    def features(self, image: Tensor) -> TeacherFeatures:
        x, grids = self.stem(image), []
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        return TeacherFeatures(tuple(grids), x.mean((2, 3)))


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("method", ["lorkd", "rd", "drd", "stl-kd"])
def test_no_step_changes_or_reaches_the_teacher(configured: Callable[..., Config], tmp_path: Path, method: str) -> None:
    teacher = Stubborn()
    config = resolve_foundation(configured(tmp_path, method=method), teacher)
    samples = read_regions(config)
    regions = RegionSet(one.region for one in samples.values())
    splits = split_regions(samples, config.split, seed=0)
    members = get_method(method).phases(regions)[0]
    foundation = untrained_foundation(config, members, teacher)
    module = get_method(method).build(config, members, foundation)
    stepper = OptimizerStep(module, config.train, Fabric(accelerator="cpu"), [foundation])
    before = state_of(foundation.model)
    parts = prepare_parts(config, samples, splits, config.image)["train"]
    seen = prepare_for_teacher(config, samples, splits, config.image)
    assert seen is not None
    loader = BatchLoader(
        parts, members, batch_size=8, sampling="balanced", seed=0, augment=config.train.augment, teacher=seen["train"]
    )
    for step, batch in enumerate(loader):
        teacher.train()  # as a careless caller would
        assert batch.teacher_image is not None
        assert batch.teacher_image.shape == (8, 3, 24, 20)
        stepper.step(batch, 0.01)
        assert not any(one.training for one in foundation.model.modules())
        if step == 2:
            break
    assert all(value.grad is None and not value.requires_grad for value in foundation.model.parameters())
    after = foundation.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_the_same_question_has_the_same_answer(configured: Callable[..., Config], tmp_path: Path) -> None:
    """Dropout or batch statistics at work would give another answer each time."""
    teacher = Stubborn()
    config = resolve_foundation(configured(tmp_path), teacher)
    samples = read_regions(config)
    regions = RegionSet([next(iter(samples.values())).region])
    foundation = untrained_foundation(config, regions, teacher)
    module = get_method("rd").build(config, regions, foundation)
    stepper = OptimizerStep(module, config.train, Fabric(accelerator="cpu"), [foundation])
    rows = torch.arange(4)
    batch = Batch(torch.rand(4, 1, 16, 16), rows % 2, rows * 0, rows, torch.rand(4, 3, 24, 20))
    one = stepper.ask_teacher(batch)
    teacher.train()
    assert torch.equal(one.features, stepper.ask_teacher(batch).features)


@pytest.fixture(scope="module")
def taught(configured: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
    """A finished run of `rd` under a user's teacher."""
    root = tmp_path_factory.mktemp("taught")
    config = configured(root)
    return train(config, out=root / "runs", teacher=Stubborn()).run, config


def test_a_users_module_teaches_a_run(taught: tuple[Path, Config]) -> None:
    run, config = taught
    teacher = Stubborn()
    document = read_json(run / "foundation" / "foundation.json")
    assert document["backbone"] == f"teacher:{teacher.digest[:16]}"
    assert document["image"] == SEEN.model_dump(mode="json")
    assert document["heads"] == {"chest": "probe", "knee": "probe"}
    manifest = read_manifest(run / "foundation")
    assert manifest.extra["exportable"] is False
    stored = load_config(run / "config.yaml")
    assert stored.foundation_image == SEEN
    assert train(config, out=run.parent, teacher=teacher).up_to_date
    found = evaluate(open_run(run), model="foundation", teacher=teacher).to_json()
    assert all(block["source"] == "probe" for block in found["regions"].values())
    with pytest.raises(UsageError, match="the user's own teacher"):
        evaluate(open_run(run), model="foundation")


def test_a_stored_run_is_bound_to_its_teacher(taught: tuple[Path, Config]) -> None:
    run, _ = taught
    other = Stubborn()
    with torch.no_grad():
        other.stem[0].weight.add_(1)
    other.digest = weights_digest(other)
    with pytest.raises(UsageError, match="made with teacher:"):
        load_foundation(run / "foundation", other)
    stored = load_config(run / "config.yaml")
    with pytest.raises(UsageError, match=r"digest .* where foundation.backbone is teacher:"):
        train(stored, out=run.parent, teacher=other)
    with pytest.raises(UsageError, match="without the teacher itself"):
        train(stored, out=run.parent)


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"stages": 3}, {"method": "drd"}, "teacher with 3 stages"),
        ({}, {"method": "finetune"}, "method finetune with a teacher"),
        ({}, {"foundation.image": "{size: 32}"}, r"foundation.image.size is 32 x 32, the teacher has 24 x 20"),
        ({}, {"foundation.weights": "x.pth"}, "a teacher, and foundation.weights"),
    ],
)
def test_bad_teachers_end_before_training(
    configured: Callable[..., Config], tmp_path: Path, change: dict[str, int], settings: dict[str, object], message: str
) -> None:
    said: list[str] = []
    config = configured(tmp_path, **settings)
    with pytest.raises(UsageError, match=message):
        train(
            config,
            out=tmp_path / "runs",
            teacher=Stubborn(**change),
            on_event=lambda event: said.append(event.text) if isinstance(event, Notice) else None,
        )
    assert not said
    # the key of the digests of cases, which a plan needs, and nothing else
    assert [path.name for path in tmp_path.glob("runs/*")] in ([], [".patient-key"])


def test_walking_a_teacher_gives_its_stages(configured: Callable[..., Config], tmp_path: Path) -> None:
    config = resolve_foundation(configured(tmp_path), Stubborn())
    foundation = foundation_from_teacher(Stubborn(), config, RegionSet([Region(name="a", classes=("x", "y"))]))
    assert len(stage_view(foundation.model.backbone, dense=False).run_stages(torch.rand(2, 3, 24, 20)).grids) == 4
    assert foundation.digest == Stubborn().digest
