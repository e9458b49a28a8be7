from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lorkit.decompose import load_config, train
from lorkit.decompose.artifacts import read_json, read_manifest
from lorkit.decompose.config import AugmentConfig, Config, ImageConfig, to_yaml
from lorkit.decompose.data import read_regions, split_regions
from lorkit.decompose.data.batches.augmentation import augment
from lorkit.decompose.data.batches.loader import Batch, BatchLoader
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.events import Notice
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.foundation.teacher import TeacherBackbone, TeacherFeatures, weights_digest
from lorkit.decompose.models.stage_features import stage_view
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import open_run
from lorkit.decompose.training.foundation.resolving import foundation_from_teacher, resolve_foundation
from lorkit.decompose.training.loop.step import OptimizerStep
from lorkit.decompose.training.plan import untrained_foundation
from lorkit.decompose.training.training import pretrain
from lorkit.decompose.training.training_data import prepare_for_teacher, prepare_parts

SETTINGS = """
method: rd
image: {size: 16, channels: 1}
split: {val: 0.25, test: 0.25}
regions: {chest: {data: chest.npz}, knee: {data: knee.npz}}
foundation: {backbone: shufflenet_v2_x1_0}
student: {backbone: shufflenet_v2_x1_0}
train: {epochs: 1, batch_size: 8}
"""
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


def configured(directory: Path, **settings: object) -> Config:
    """Write data of two regions, 24 x 24 pixels, and a configuration over them."""
    for seed, (name, classes) in enumerate({"chest": ("no", "yes"), "knee": ("none", "mild", "severe")}.items()):
        rng = np.random.default_rng(seed)
        labels = np.arange(48) % len(classes)
        images = np.clip(60 + 60 * labels[:, None, None] + rng.normal(0, 20, (48, 24, 24)), 0, 255).astype(np.uint8)
        groups = np.array([f"p{index}" for index in range(48)])
        names = np.array(classes)
        np.savez(directory / f"{name}.npz", images=images, labels=labels, label_names=names, groups=groups)
    path = directory / "decompose.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    return load_config(path, overrides=[f"{key}={value}" for key, value in settings.items()])


@pytest.mark.parametrize("method", ["lorkd", "rd", "drd", "stl-kd"])
def test_no_step_changes_or_reaches_the_teacher(tmp_path: Path, method: str) -> None:
    teacher = Stubborn()
    config = resolve_foundation(configured(tmp_path, method=method), teacher)
    samples = read_regions(config)
    regions = RegionSet(one.region for one in samples.values())
    splits = split_regions(samples, config.split, seed=0)
    members = get_method(method).phases(regions)[0]
    foundation = untrained_foundation(config, members, teacher)
    module = get_method(method).build(config, members, foundation)
    stepper = OptimizerStep(module, config.train, Fabric(accelerator="cpu"), foundation)
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


def test_the_same_question_has_the_same_answer(tmp_path: Path) -> None:
    """Dropout or batch statistics at work would give another answer each time."""
    teacher = Stubborn()
    config = resolve_foundation(configured(tmp_path), teacher)
    samples = read_regions(config)
    regions = RegionSet([next(iter(samples.values())).region])
    foundation = untrained_foundation(config, regions, teacher)
    module = get_method("rd").build(config, regions, foundation)
    stepper = OptimizerStep(module, config.train, Fabric(accelerator="cpu"), foundation)
    rows = torch.arange(4)
    batch = Batch(torch.rand(4, 1, 16, 16), rows % 2, rows * 0, rows, torch.rand(4, 3, 24, 20))
    one = stepper.ask_teacher(batch)
    teacher.train()
    assert torch.equal(one.features, stepper.ask_teacher(batch).features)


def test_both_images_show_the_same_after_every_change() -> None:
    """A blob lands at the same relative place whatever size, aspect included, it is augmented at."""
    rng = np.random.default_rng(0)
    key = rng.integers(0, 2**63, 32, dtype=np.uint64)
    config = AugmentConfig(share=1.0, rotate=40, shift=0.1, scale=0.1, intensity=0.0)

    def centres(size: tuple[int, int], like: tuple[int, int] | None) -> np.ndarray:
        y, x = (torch.arange(side).add(0.5) / side for side in size)
        blob = torch.exp(-(((y[:, None] - 0.4) / 0.12) ** 2) - ((x[None] - 0.6) / 0.12) ** 2)
        moved = augment(blob.expand(32, 1, *size).clone(), key, config, like=like)[:, 0]
        total = moved.sum((1, 2))
        return torch.stack([(moved.sum(2) @ y) / total, (moved.sum(1) @ x) / total], 1).numpy()

    student = centres((40, 40), None)
    np.testing.assert_allclose(centres((96, 96), (40, 40)), student, atol=0.01)
    np.testing.assert_allclose(centres((40, 120), (40, 40)), student, atol=0.01)
    assert np.abs(centres((40, 120), None) - student).max() > 0.03  # in its own pixels it would turn otherwise


def test_teacher_images_come_from_the_originals(tmp_path: Path) -> None:
    config = configured(tmp_path, **{"foundation.image": "{size: 24}"})
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    seen = prepare_for_teacher(config, samples, splits, config.image)
    assert seen is not None
    for name, one in samples.items():
        rows = splits.parts(name)["val"]
        original = np.stack([one.images[int(row)] for row in rows]).astype(np.float32) / 255  # 24 x 24 as written
        np.testing.assert_array_equal(seen["val"][name].stored[:, 0], original)
    assert prepare_for_teacher(configured(tmp_path), samples, splits, config.image) is None


def test_samples_of_both_must_agree(tmp_path: Path) -> None:
    config = configured(tmp_path, **{"foundation.image": "{size: 24}"})
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    parts = prepare_parts(config, samples, splits, config.image)
    seen = prepare_parts(config, samples, splits, config.foundation_image)
    regions = RegionSet(one.region for one in samples.values())
    with pytest.raises(DataError, match="other samples"):
        BatchLoader(parts["train"], regions, batch_size=8, sampling="sqrt", seed=0, augment=None, teacher=seen["val"])


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Config]:
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
    found = evaluate(open_run(run), model="foundation", teacher=teacher)
    assert all(block["source"] == "probe" for block in found["regions"].values())
    with pytest.raises(UsageError, match="teacher of the user's own"):
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


def _flat(self: Stubborn, image: Tensor) -> TeacherFeatures:
    return TeacherFeatures((), image.mean((1, 2, 3)))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"stages": 3}, {"method": "drd"}, "teacher with 3 stages"),
        ({}, {"method": "finetune"}, "method finetune with a teacher"),
        ({}, {"foundation.image": "{size: 32}"}, r"foundation.image.size is 32 x 32, the teacher sees 24 x 20"),
        ({}, {"foundation.weights": "x.pth"}, "a teacher, and foundation.weights"),
    ],
)
def test_bad_teachers_end_before_training(
    tmp_path: Path, change: dict[str, int], settings: dict[str, object], message: str
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
    assert not (tmp_path / "runs").exists()


def test_a_teacher_is_asked_before_any_data(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Stubborn(image=ImageConfig(size=(24, 24), channels=1))
    TeacherBackbone(teacher)
    teacher.image = SEEN
    with pytest.raises(UsageError, match=r"cannot be asked about images 3 x 24 x 20"):
        TeacherBackbone(teacher)
    monkeypatch.setattr(Stubborn, "features", _flat)
    with pytest.raises(UsageError, match=r"features \(2, F\)"):
        TeacherBackbone(teacher)


def test_walking_a_teacher_gives_its_stages(tmp_path: Path) -> None:
    config = resolve_foundation(configured(tmp_path), Stubborn())
    foundation = foundation_from_teacher(Stubborn(), config, RegionSet([Region(name="a", classes=("x", "y"))]))
    assert len(stage_view(foundation.model.backbone).run_stages(torch.rand(2, 3, 24, 20)).grids) == 4
    assert foundation.digest == Stubborn().digest


def test_a_foundation_is_pretrained_and_adopted_with_its_own_image(tmp_path: Path) -> None:
    image = "{size: 32, channels: 3}"
    path = pretrain(configured(tmp_path, **{"foundation.image": image}), out=tmp_path / "foundations")
    assert path is not None
    own = load_foundation(path).image
    assert (tuple(own["size"]), own["channels"]) == ((32, 32), 3)
    given = configured(tmp_path, **{"foundation.weights": str(path)})
    assert resolve_foundation(given).foundation_image.channels == 3
    result = train(given, out=tmp_path / "runs")
    assert load_foundation(result.run / "foundation").image == own
    assert evaluate(open_run(result.run), model="foundation")["regions"]["chest"]["source"] == "own"
    with pytest.raises(UsageError, match=r"foundation.image.channels is 1, the foundation .* sees 3"):
        resolve_foundation(
            configured(tmp_path, **{"foundation.weights": str(path), "foundation.image": "{channels: 1}"})
        )


def test_adapted_foundations_are_deployed_at_their_own_image(tmp_path: Path) -> None:
    config = configured(tmp_path, method="linear-probe", **{"foundation.image": "{size: 32, channels: 3}"})
    run = open_run(train(config, out=tmp_path / "runs").run)
    assert run.config.deployed_image.size == (32, 32)
    assert evaluate(run)["regions"]["chest"]["n"] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{size: 4}", "between 8 and 4096"),
        ("{size: [32, 32, 32]}", "as many sides as image.size"),
        ("{mean: [0.5]}", "mean and std together"),
        ("{channels: 3, mean: [0.5], std: [0.2]}", "one mean a channel"),
        ("{channel: 3}", "did you mean 'channels'"),
    ],
)
def test_images_of_a_foundation_are_checked(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        configured(tmp_path, **{"foundation.image": text})


def test_what_is_not_stated_is_as_the_students(tmp_path: Path) -> None:
    config = configured(tmp_path, **{"image.mean": "[0.3]", "image.std": "[0.2]", "foundation.image": "{size: 24}"})
    assert config.foundation_image == ImageConfig(size=(24, 24), channels=1, mean=(0.3,), std=(0.2,))
    assert configured(tmp_path, **{"foundation.image": "{channels: 3}"}).foundation_image.mean == (0.5,) * 3
    path = tmp_path / "again.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path).foundation_image == config.foundation_image
