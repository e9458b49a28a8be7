"""The pre-distilled start of students: what trains it, what it does not see, a resume, and its costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from lorkit.decompose import train
from lorkit.decompose.artifacts import load_tensors
from lorkit.decompose.config import Config, default_config, with_overrides
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, Finished, Saved, Started, Validated, ignore
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.methods.student import fresh_student
from lorkit.decompose.models.cost import count_parameters
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training import phases, predistillation
from lorkit.decompose.training.exposure import exposure_of
from lorkit.decompose.training.gradient_check import phase_sampler
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.phases import Trained, train_phases
from lorkit.decompose.training.predistillation import PREDISTIL, predistillation_settings
from lorkit.decompose.training.training_data import TrainingData

REGIONS = RegionSet([Region(name="a", classes=("x", "y")), Region(name="b", classes=("x", "y"))])
ON = "student.predistil.epochs=2"
SETTINGS = (
    "regions={a: {data: x}, b: {data: x}}",
    "image={size: 16, channels: 1}",
    "student.backbone=tiny_resnet",
    "foundation.backbone=tiny_resnet_wide",
    "train={epochs: 2, batch_size: 8, augment: {flip: true, shift: 0.1}, lr: 0.01}",
)


@pytest.fixture
def foundation(tiny: None) -> Foundation:
    torch.manual_seed(4)
    config = default_config(overrides=SETTINGS)
    model = shared_network(config, config.foundation.backbone, REGIONS).eval()
    heads = dict.fromkeys(REGIONS.names, "own")
    return Foundation(model=model, backbone=config.foundation.backbone, regions=REGIONS, heads=heads, image={})


@pytest.fixture
def data(make_prepared: Callable[[int], PreparedRegion]) -> TrainingData:
    parts = {
        part: {one.name: replace(make_prepared(size + index), region=one) for index, one in enumerate(REGIONS)}
        for part, size in {"train": 24, "val": 12, "unlabelled": 10}.items()
    }
    bare = parts["unlabelled"]["b"]
    unlabelled = {"b": replace(bare, labels=np.full(len(bare), -1), digests=tuple(f"u{one}" for one in bare.digests))}
    return TrainingData(regions=REGIONS, train=parts["train"], val=parts["val"], unlabelled=unlabelled)


def run(
    data: TrainingData,
    foundation: Foundation,
    directory: Path,
    *settings: str,
    method: str = "fitnet",
    heard: Callable[[Event], None] = ignore,
) -> tuple[Trained, Config]:
    config = default_config(overrides=[*SETTINGS, *settings], method=method)
    found = train_phases(
        config,
        get_method(method),
        data,
        foundation,
        directory=directory,
        fabric=launch(config.train),
        on_event=heard,
    )
    return found, config


def tensors(trained: Trained) -> dict[str, Tensor]:
    return trained.live.state_dict()


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def watch(monkeypatch: pytest.MonkeyPatch, place: Any = phases) -> dict[str, dict[str, Tensor]]:
    """Return, filled by the training, the backbone of each phase's network before its first step."""
    begun: dict[str, dict[str, Tensor]] = {}
    real = place.run_phase

    def begin(module: TrainingModule, phase: Any, *rest: Any) -> Finished:
        state = module.live.backbone.state_dict()
        begun[phase.name] = {name: value.clone() for name, value in state.items()}
        return real(module, phase, *rest)

    monkeypatch.setattr(place, "run_phase", begin)
    return begun


@pytest.mark.parametrize("method", ["fitnet", "rd", "drd", "stl-kd"])
def test_every_student_starts_from_the_backbone_of_the_last_epoch(
    data: TrainingData, foundation: Foundation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    begun = watch(monkeypatch)
    run(data, foundation, tmp_path, ON, "train.epochs=1", method=method)
    stored = torch.load(tmp_path / PREDISTIL / "epoch-0002.pt", weights_only=True)["module"]
    prefix = "live.backbone."
    expected = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    assert set(begun) == {f"{method}-a", f"{method}-b"}
    assert all(same(one, expected) for one in begun.values())


def test_with_published_weights_the_backbone_starts_from_them(
    data: TrainingData, foundation: Foundation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = default_config(overrides=SETTINGS)
    torch.manual_seed(8)
    published = fresh_student(config, REGIONS).state_dict()
    save_file(published, tmp_path / "published.safetensors")
    begun = watch(monkeypatch, predistillation)
    run(data, foundation, tmp_path, ON, f"student.weights={tmp_path / 'published.safetensors'}")
    assert same(begun[PREDISTIL], published)


def test_without_epochs_it_is_the_training_without_the_setting(
    data: TrainingData, foundation: Foundation, tmp_path: Path
) -> None:
    plain, _ = run(data, foundation, tmp_path / "plain")
    null, _ = run(data, foundation, tmp_path / "null", "student.predistil={epochs: null, lr: 0.5}")
    first, _ = run(data, foundation, tmp_path / "first", ON)
    assert same(tensors(plain), tensors(null))
    assert not same(tensors(plain), tensors(first))
    assert not (tmp_path / "null" / PREDISTIL).exists()


def test_it_reads_no_label_and_no_validation_image(
    data: TrainingData, foundation: Foundation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shuffled = {
        name: replace(one, labels=1 - one.labels, stored=np.zeros_like(one.stored)) for name, one in data.val.items()
    }
    other = {name: replace(one, labels=1 - one.labels) for name, one in data.train.items()}
    begun = []
    for number, one in enumerate((data, replace(data, train=other, val=shuffled))):
        with monkeypatch.context() as patch:
            found = watch(patch)
            run(one, foundation, tmp_path / str(number), ON)
        begun.append(found["fitnet-a"])
    assert same(*begun)
    fewer = replace(data, unlabelled={})
    with monkeypatch.context() as patch:
        found = watch(patch)
        run(fewer, foundation, tmp_path / "fewer", ON)
    assert not same(begun[0], found["fitnet-a"]), "unlabelled images of b are used"


def test_a_resume_changes_no_bit(data: TrainingData, foundation: Foundation, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def stop(phase: str, epoch: int) -> Callable[[Event], None]:
        def heard(event: Event) -> None:
            if isinstance(event, Saved) and (event.phase, event.epoch) == (phase, epoch):
                raise Interrupted

        return heard

    whole, _ = run(data, foundation, tmp_path / "whole", ON)
    for phase, epoch in ((PREDISTIL, 0), (PREDISTIL, 1), ("fitnet-a", 0)):
        with pytest.raises(Interrupted):
            run(data, foundation, tmp_path / "cut", ON, heard=stop(phase, epoch))
    heard: list[Event] = []
    resumed, _ = run(data, foundation, tmp_path / "cut", ON, heard=heard.append)
    assert same(tensors(whole), tensors(resumed))
    first = next(event for event in heard if isinstance(event, Started))
    assert (first.phase, first.first_epoch, first.epochs) == (PREDISTIL, 2, 2)
    hints = [[row["loss"] for row in one.ends[0].history] for one in (whole, resumed)]
    assert hints[0] == hints[1]


def test_its_rows_are_not_validated_and_its_cost_is_counted(
    data: TrainingData, foundation: Foundation, tmp_path: Path
) -> None:
    heard: list[Event] = []
    found, config = run(data, foundation, tmp_path, ON, heard=heard.append)
    plain, _ = run(data, foundation, tmp_path / "plain")
    end = found.ends[0]
    assert (end.phase, end.best, end.best_epoch, len(end.history)) == (PREDISTIL, None, 1, 2)
    assert all(row["val"] == {} and "metric" not in row for row in end.history)
    assert [set(row["loss"]) for row in end.history] == [{"hint"}] * 2
    assert end.history[1]["loss"]["hint"]["b"] < end.history[0]["loss"]["hint"]["b"]
    first = next(event for event in heard if isinstance(event, Validated))
    assert (first.mean, first.scores, first.metric) == (None, {}, "")
    assert found.seconds >= sum(row["seconds"] for row in end.history) > 0
    backbone = count_parameters(shared_network(config, "tiny_resnet", REGIONS))
    assert found.parameters - plain.parameters > backbone
    counts = {name: len(one) for name, one in data.train.items()}
    settings = predistillation_settings(config)
    assert settings is not None
    without = with_overrides(config, ["student.predistil.epochs=null"])
    after, before = (exposure_of(get_method("fitnet"), one, REGIONS, counts) for one in (config, without))
    samples = phase_sampler(settings, REGIONS, counts).samples_per_batch
    assert end.history[0]["phase"] == PREDISTIL
    steps = next(event for event in heard if isinstance(event, Started)).steps
    more = {name: after[name].optimiser_steps - before[name].optimiser_steps for name in counts}
    assert more == dict.fromkeys(counts, 2 * steps)
    assert [after[name].images - before[name].images for name in counts] == (2 * samples.sum(0)).tolist()


def test_a_run_keeps_its_rows_and_a_method_without_a_teacher_refuses_it(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    config = configured(tmp_path, **{"student.predistil.epochs": 1, "foundation.epochs": 1})
    for method in ("stl", "lorkd"):
        with pytest.raises(UsageError, match=f"student.predistil.epochs with method {method}"):
            train(with_overrides(config, [], method=method), out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    planned = train(config, out=tmp_path / "runs", dry_run=True).plan
    assert planned is not None
    assert [phase.name for phase in planned.phases] == [PREDISTIL, None, None]
    assert planned.phases[0].region_names == ["chest", "knee"]
    made = train(config, out=tmp_path / "runs")
    assert set(made.best) == {"rd-chest", "rd-knee"}
    text = (made.run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["phase"] for row in text] == [PREDISTIL, "rd-chest", "rd-knee"]
    assert load_tensors(made.run / "model.safetensors")
    assert train(config, out=tmp_path / "runs").up_to_date
