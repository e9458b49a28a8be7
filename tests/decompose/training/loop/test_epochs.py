"""One tiny phantom, tiny networks at 16 x 16: what the loop promises, bit for bit."""

import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lorkit.decompose.config import Config, default_config
from lorkit.decompose.data import PreparedRegion, prepare, read_regions, split_regions
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import DataError, MissingRuntimeError, UsageError
from lorkit.decompose.events import Event, Finished, Notice, Started, Step, Validated
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.loop import epochs
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.epochs import fit
from lorkit.decompose.training.loop.optimizer import learning_rate
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.loop.validation import validation_score

pytestmark = pytest.mark.usefixtures("tiny")
SETTINGS = (
    "regions={chest: {data: 'phantom:chest'}, knee: {data: 'phantom:knee'}}",
    "image.size=16",
    "student.backbone=tiny_resnet",
    "foundation.backbone=tiny_resnet_wide",
    "train.epochs=2",
    "train.batch_size=8",
)


@pytest.fixture(scope="module")
def config() -> Config:
    return default_config(overrides=SETTINGS)


@pytest.fixture(scope="module")
def parts(config: Config) -> dict[str, dict[str, PreparedRegion]]:
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    return {
        part: {
            name: prepare(one, build_recipe(config.image, config.regions[name]), indices=splits.parts(name)[part][:12])
            for name, one in samples.items()
        }
        for part in ("train", "val")
    }


@pytest.fixture
def teacher(config: Config, parts: dict[str, dict[str, PreparedRegion]]) -> Foundation:
    torch.manual_seed(1)
    regions = RegionSet(one.region for one in parts["train"].values())
    model = shared_network(config, config.foundation.backbone, regions)
    heads = dict.fromkeys(regions.names, "own")
    return Foundation(model=model, backbone="tiny_resnet_wide", regions=regions, heads=heads, image={}, source={})


def run(
    config: Config,
    parts: dict[str, dict[str, PreparedRegion]],
    directory: Path,
    teacher: Foundation | None,
    *,
    stop_after: int | None = None,
    resume: bool = False,
    teacher_train: dict[str, PreparedRegion] | None = None,
) -> tuple[torch.nn.Module, list[Event]]:
    regions = RegionSet(one.region for one in parts["train"].values())
    torch.manual_seed(0)
    module = get_method(config.method).build(config, regions, teacher)
    phase = Phase(
        name="lorkd",
        regions=regions,
        train=parts["train"],
        val=parts["val"],
        settings=config.train,
        seed=0,
        directory=directory,
        teacher_train=teacher_train,
    )
    events: list[Event] = []
    for event in fit(module, phase, launch(config.train), teachers=[] if teacher is None else [teacher], resume=resume):
        events.append(event)
        if isinstance(event, Started) or stop_after is None:
            continue
        if type(event).__name__ == "Saved" and event.epoch + 1 == stop_after:  # type: ignore[attr-defined]
            break
    return module, events


OPTIONS = (
    (),
    ("student.backbone=tiny", "train.accumulate=2", "train.ema=0.9", "train.log_conflict=1"),
    ("student.backbone=tiny", "train.checkpointing=true", "train.precision=bf16", "train.log_conflict=1"),
    ("student.backbone=tiny", "train.min_steps=8"),
    ("method=mola-grad", "train.ema=0.9"),
    ("train.layer_decay=0.5", "train.freeze_epochs=1", "train.ema=0.9", "train.log_conflict=1"),
    ("student.backbone=tiny", "train.logit_adjustment=1", "train.label_smoothing=0.1"),
    ("student.backbone=tiny", "train.augment={random: {operations: 3}}"),
    ("student.backbone=tiny", "train.freeze_epochs=1", "train.balancer=nash-mtl", "train.checkpointing=true"),
    ("method=mmoe",),
    ("method=hard-router",),
    ("method=mola-router", "mola.gates=stage", "mola.adapters=3", "train.accumulate=2"),
    ("method=mola-router", "student.backbone=tiny", "mola.router=image", "train.checkpointing=true"),
    ("student.backbone=tiny", "train.balancer=nash-mtl", "train.precision=bf16", "train.accumulate=2"),
    ("student.backbone=tiny", "train.balancer=pcgrad", "train.ema=0.5", "train.checkpointing=true"),
    pytest.param(
        ("student.backbone=one", "train.compile=true", "train.ema=0.9"),
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler here"),
        ],
    ),
)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.usefixtures("one_layer")
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_a_resumed_training_ends_with_the_same_bits(
    parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path, options: tuple[str, ...]
) -> None:
    if any("balancer" in option for option in options):
        pytest.importorskip("torchjd", reason="the extra 'balancers' is not installed")
    config = default_config(overrides=[*SETTINGS, *options])
    whole, events = run(config, parts, tmp_path / "whole", teacher)
    run(config, parts, tmp_path / "broken", teacher, stop_after=1)
    resumed, later = run(config, parts, tmp_path / "broken", teacher, resume=True)
    started = next(event for event in later if isinstance(event, Started))
    assert started.first_epoch == 1
    assert isinstance(events[-1], Finished)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert comparable(events) == comparable(later)
    assert [event for event in later if isinstance(event, Step)][-1].eta_s == 0


def comparable(events: list[Event]) -> list[tuple[object, object]]:
    """Return what a resume must repeat of the metrics: losses and cosines by epoch."""
    assert isinstance(events[-1], Finished)
    return [(row["loss"], row.get("gradient_cosine")) for row in events[-1].history]


def test_the_average_is_validated_and_kept(
    parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path
) -> None:
    config = default_config(overrides=[*SETTINGS, "student.backbone=tiny", "train.ema=0.9"])
    module, events = run(config, parts, tmp_path / "x", teacher)
    end = events[-1]
    assert isinstance(end, Finished)
    state = torch.load(tmp_path / "x" / f"epoch-{end.best_epoch + 1:04d}.pt", weights_only=True)
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, state["average"][name]), name
    assert any(not torch.equal(tensor, state["module"][name]) for name, tensor in module.state_dict().items())
    device = torch.device("cpu")
    score = np.mean([validation_score(module.live, parts["val"][name], name, device) for name in parts["val"]])
    assert score == pytest.approx(end.best)


@pytest.mark.parametrize(("scores", "best"), [((0.5, 0.5, 0.25), 0), ((0.25, 0.75, 0.5), 1), ((0.25, 0.75, 0.75), 1)])
def test_the_earliest_of_the_best_epochs_is_kept(
    parts: dict[str, dict[str, PreparedRegion]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: tuple[float, ...],
    best: int,
) -> None:
    told = iter([score + shift for score in scores for shift in (-0.125, 0.125)])  # of two regions, per epoch
    monkeypatch.setattr(epochs, "validation_score", lambda *_: next(told))
    config = default_config(overrides=[*SETTINGS, "student.backbone=tiny", "train.epochs=3"])
    module, events = run(config, parts, tmp_path, None)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.best_epoch, end.best) == (best, max(scores))
    assert [row["val"]["mean"] for row in end.history] == list(scores)
    shown = [event.best for event in events if isinstance(event, Validated)]
    assert shown == [score > max((-1.0, *scores[:epoch])) for epoch, score in enumerate(scores)]
    kept = torch.load(tmp_path / f"epoch-{best + 1:04d}.pt", weights_only=True)["module"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in module.state_dict().items())


def test_samples_that_a_batch_repeats_are_said_before_training(
    parts: dict[str, dict[str, PreparedRegion]], tmp_path: Path
) -> None:
    count = max(len(one) for one in parts["train"].values())
    config = default_config(
        overrides=[*SETTINGS, "student.backbone=tiny", f"train.batch_size={4 * len(parts['train']) * count}"]
    )
    _, events = run(config, parts, tmp_path / "x", None, stop_after=1)
    start = next(index for index, event in enumerate(events) if isinstance(event, Started))
    told = [event.text for event in events[:start] if isinstance(event, Notice)]
    assert len(told) == 1
    assert f"from {count}, each up to 4 times" in told[0]


@pytest.mark.parametrize("stop_after", [None, 1, 3])
def test_patience_ends_a_training_at_the_same_epoch_after_a_resume(
    parts: dict[str, dict[str, PreparedRegion]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int | None
) -> None:
    """Scores rise until the second epoch; a tie is no better score, so two epochs later the training ends."""
    scores = (0.25, 0.75, 0.5, 0.75, 0.875, 0.875)
    told = iter([score for score in scores for _ in range(2)])
    monkeypatch.setattr(epochs, "validation_score", lambda *_: next(told))
    settings = (*SETTINGS, "student.backbone=tiny", "train.epochs=6")
    config = default_config(overrides=[*settings, "train.patience=2"])
    if stop_after is not None:
        run(config, parts, tmp_path / "x", None, stop_after=stop_after)
    module, events = run(config, parts, tmp_path / "x", None, resume=stop_after is not None)
    end = events[-1]
    assert isinstance(end, Finished)
    assert (len(end.history), end.best_epoch) == (4, 1)
    assert end.stopped is not None
    assert end.stopped.startswith("stopped after epoch 4 of 6: no better validation score than 0.750 of epoch 2 in 2")
    assert [row.get("stopped") for row in end.history] == [None, None, None, end.stopped]
    assert [event.text for event in events if isinstance(event, Notice)] == [f"lorkd {end.stopped}"]
    again, later = run(config, parts, tmp_path / "x", None, resume=True)
    started = next(event for event in later if isinstance(event, Started))
    assert (started.first_epoch, started.epochs) == (4, 4)
    assert not [event for event in later if isinstance(event, Step | Validated)]
    # until it stops, and in what it keeps, it is the training without patience
    told = iter([score for score in scores for _ in range(2)])
    run(default_config(overrides=[*settings]), parts, tmp_path / "whole", None, stop_after=4)
    kept = torch.load(tmp_path / "whole" / "epoch-0002.pt", weights_only=True)["module"]
    for found in (module, again):
        assert all(torch.equal(value, kept[name]) for name, value in found.state_dict().items())


def test_gradient_conflict_is_logged_when_it_is_due(
    parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path
) -> None:
    settings = (*SETTINGS, "student.backbone=tiny")
    config = default_config(overrides=[*settings, "train.log_conflict=2"])
    _, events = run(config, parts, tmp_path / "logged", teacher)
    assert isinstance(events[-1], Finished)
    first, second = events[-1].history
    assert "gradient_cosine" not in first
    assert -1 <= second["gradient_cosine"] <= 1
    plain, _ = run(default_config(overrides=settings), parts, tmp_path / "plain", teacher)
    logged, _ = run(config, parts, tmp_path / "again", teacher)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, logged.state_dict()[name]), name


def test_batches_that_cannot_be_cut_are_refused_before_the_first_step(
    parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path
) -> None:
    config = default_config(overrides=[*SETTINGS, "train.batch_size=6", "train.accumulate=3"])
    with pytest.raises(UsageError, match=r"train\.accumulate is 3 for a batch with"):
        run(config, parts, tmp_path / "x", teacher)


def test_events_name_every_term_and_region(
    config: Config, parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path
) -> None:
    module, events = run(config, parts, tmp_path / "x", teacher)
    (start,) = (event for event in events if isinstance(event, Started))
    assert start.parameters == sum(value.numel() for value in module.parameters() if value.requires_grad)
    steps = [event for event in events if isinstance(event, Step)]
    assert set(steps[0].losses) == {"ce", "feature_kd", "projector", "logit_kd"}
    assert steps[0].eta_s > 0
    validated = [event for event in events if isinstance(event, Validated)]
    assert set(validated[0].scores) == {"chest", "knee"}
    assert validated[0].best


def test_times_and_rates_are_those_of_the_clock(
    config: Config, parts: dict[str, dict[str, PreparedRegion]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that goes on by one second whenever it is read."""
    clock = itertools.count(1000.0)
    monkeypatch.setattr(epochs, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    _, events = run(config, parts, tmp_path, None)
    passed = next(clock) - 1001
    (end,) = (event for event in events if isinstance(event, Finished))
    validated = [event for event in events if isinstance(event, Validated)]
    steps = [event for event in events if isinstance(event, Step)]
    assert 0 < sum(row["seconds"] for row in end.history) < end.seconds == passed
    for row, event in zip(end.history, validated, strict=True):
        assert event.images_per_second == pytest.approx(24 / row["seconds"])  # 3 batches of 8
        assert row["images_per_second"] == pytest.approx(event.images_per_second, abs=0.06)
    # a second for each step, as the clock is read once for it, and some before the first
    assert [event.eta_s for event in steps[-2:]] == [pytest.approx((passed - 4) / 5, rel=0.3), 0]
    assert all(0 < later.eta_s < event.eta_s for event, later in itertools.pairwise(steps[:-1]))


def test_the_teacher_does_not_move(
    config: Config, parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    run(config, parts, tmp_path / "x", teacher)
    for name, tensor in teacher.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_the_teacher_is_shown_the_images_of_its_own_size(
    config: Config,
    parts: dict[str, dict[str, PreparedRegion]],
    teacher: Foundation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A teacher of 24 x 24 pixels beside a student of 16 x 16; every image is that of the sample's own row."""
    larger = {
        name: replace(one, stored=np.random.default_rng(0).random((len(one), 1, 24, 24), dtype=np.float32))
        for name, one in parts["train"].items()
    }
    plain = config.model_copy(update={"train": config.train.model_copy(update={"augment": None})})
    asked: list[torch.Tensor] = []
    forward = teacher.model.forward
    monkeypatch.setattr(teacher.model, "forward", lambda image, region: asked.append(image) or forward(image, region))
    run(plain, parts, tmp_path, teacher, teacher_train=larger)
    known = {image.tobytes() for one in larger.values() for image in one.stored}
    assert asked
    assert {image.numpy().tobytes() for images in asked for image in images} <= known


def test_a_loss_that_is_not_finite_names_its_region(
    config: Config, parts: dict[str, dict[str, PreparedRegion]], teacher: Foundation, tmp_path: Path
) -> None:
    knee = parts["train"]["knee"]
    stored = np.full_like(knee.stored, np.inf)
    broken = {**parts, "train": {**parts["train"], "knee": PreparedRegion(**{**vars(knee), "stored": stored})}}
    with pytest.raises(DataError, match=r"not finite in epoch 1, step 1: .*'knee'"):
        run(config, broken, tmp_path / "x", teacher)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_asking_for_cuda_without_it_is_an_error(config: Config) -> None:
    settings = config.train.model_copy(update={"accelerator": "cuda"})
    with pytest.raises(MissingRuntimeError, match="CUDA"):
        launch(settings)


def rates(config: Config) -> Iterator[float]:
    return (learning_rate(config.train, step, 10) for step in range(20))


def test_learning_rate_warms_up_and_falls_to_zero(config: Config) -> None:
    values = list(rates(config))
    assert values[0] < values[5] < config.train.lr
    assert max(values) == pytest.approx(config.train.lr, rel=0.05)
    assert values[-1] < 0.05 * config.train.lr


def test_a_least_number_of_steps_lengthens_the_epochs(
    parts: dict[str, dict[str, PreparedRegion]], tmp_path: Path
) -> None:
    long = default_config(overrides=[*SETTINGS, "student.backbone=tiny", "train.min_steps=13", "train.epochs=2"])
    _, events = run(long, parts, tmp_path, None)
    steps = 7  # of 13 in two epochs; one pass of 24 samples in batches of 8 has three
    (start,) = (event for event in events if isinstance(event, Started))
    assert (start.epochs, start.steps) == (2, steps)
    assert [(event.epoch, event.step) for event in events if isinstance(event, Step)] == [
        (epoch, step) for epoch in range(2) for step in range(steps)
    ]
    assert len([event for event in events if isinstance(event, Validated)]) == 2
    (end,) = (event for event in events if isinstance(event, Finished))
    rates = [learning_rate(long.train, step, steps) for step in (steps - 1, 2 * steps - 1)]
    assert [row["lr"] for row in end.history] == rates, "the schedule ends with the last step"
