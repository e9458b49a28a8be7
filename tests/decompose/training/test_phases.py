from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lorkit.decompose.config import Config, default_config, load_config
from lorkit.decompose.data import prepare, read_regions
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.events import Finished, Notice, Started
from lorkit.decompose.experts import recalibrate_norm_
from lorkit.decompose.methods import get_method, needs_foundation
from lorkit.decompose.methods.baselines.students import shared_network
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.regional import SeparateModels
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs.live_model import build_model
from lorkit.decompose.training import phases
from lorkit.decompose.training.first_phase import BuiltModule
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.phases import Trained, teacher_scores, train_phases
from lorkit.decompose.training.training_data import TrainingData

SMALL = (
    "student.backbone=tiny_resnet",
    "foundation.backbone=tiny_resnet",
    "train.epochs=1",
    "train.batch_size=16",
    "train.augment=null",
)


@pytest.fixture(scope="module")
def setting(made_run: Path) -> tuple[Config, TrainingData, Foundation]:
    config = load_config(made_run / "decompose.yaml", overrides=SMALL)
    samples = read_regions(config)
    parts: dict[str, dict[str, Any]] = {"train": {}, "val": {}}
    for name, one in samples.items():
        recipe = build_recipe(config.image, config.regions[name])
        parts["train"][name] = prepare(one, recipe, indices=range(32))
        parts["val"][name] = prepare(one, recipe, indices=range(32, 48))
    regions = RegionSet(one.region for one in samples.values())
    torch.manual_seed(3)
    model = shared_network(config, config.foundation.backbone, regions).eval()
    # settled norms, as training leaves them: features of a sane size
    images = torch.from_numpy(np.array(parts["train"]["knee"].images))
    recalibrate_norm_(model.backbone, [model.normalise(images)])
    foundation = Foundation(
        model=model,
        backbone=config.foundation.backbone,
        regions=regions,
        heads=dict.fromkeys(regions.names, "own"),
        image={},
    )
    return config, TrainingData(regions=regions, **parts), foundation


def run(
    setting: tuple[Config, TrainingData, Foundation], name: str, directory: Path, heard: list[Any]
) -> tuple[Trained, Config]:
    base, material, foundation = setting
    method = get_method(name)
    config = base.model_copy(update={"method": name})
    given = foundation if needs_foundation(method) else None
    fabric = launch(config.train)
    shared = {"directory": directory, "fabric": fabric, "on_event": heard.append}
    return train_phases(config, method, material, given, **shared), config


@pytest.mark.parametrize(
    "name", ["drd", "finetune", "linear-probe", "lora", "lora-kd", "mtl-kd", "rd", "rkd", "stl-kd"]
)
def test_what_is_trained_is_what_a_run_rebuilds(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path, name: str
) -> None:
    if name.startswith("lora"):
        pytest.importorskip("peft", reason="the extra 'peft' is not installed")
    before = {key: value.clone() for key, value in setting[2].model.state_dict().items()}
    heard: list[Any] = []
    trained, config = run(setting, name, tmp_path, heard)
    rebuilt = build_model(config, setting[1].regions)
    assert type(rebuilt) is type(trained.live)
    assert {type(module) for module in rebuilt.modules()} == {type(module) for module in trained.live.modules()}
    rebuilt.load_state_dict(trained.live.state_dict(), strict=True)
    image = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        expected = trained.live(image, "knee").logits["knee"]
        torch.testing.assert_close(rebuilt.eval().deployable("knee")(image), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in setting[2].model.state_dict().items())
    phases = [event.phase for event in heard if isinstance(event, Started)]
    separate = [f"{name}-chest", f"{name}-knee"]
    adapted = [text for phase in separate for text in (f"{phase}-lora", phase)]
    assert phases == {"linear-probe": [], "mtl-kd": ["mtl-kd"], "lora-kd": adapted}.get(name, separate)
    assert isinstance(trained.live, SeparateModels) == (len(phases) >= 2)


def test_costs_in_training_are_of_all_phases(setting: tuple[Config, TrainingData, Foundation], tmp_path: Path) -> None:
    stl, mtl, kd, lorkd = (run(setting, name, tmp_path / name, [])[0] for name in ("stl", "mtl", "mtl-kd", "lorkd"))
    own = sum(parameter.numel() for parameter in mtl.live.parameters())
    assert mtl.parameters == own
    assert stl.parameters == sum(parameter.numel() for parameter in stl.live.parameters())
    width = 8
    assert kd.parameters == own + width * (width + 1), "the projector is trained too"
    assert stl.macs == mtl.macs == kd.macs < lorkd.macs, "experts run beside the layers until they are merged"


def test_seconds_are_those_of_all_epochs() -> None:
    ends = tuple(
        Finished(phase=name, best_epoch=0, best=0.5, seconds=1.0, history=({"seconds": 2.0}, {"seconds": 0.5}))
        for name in ("a", "b")
    )
    assert Trained(live=nn.Module(), ends=ends, parameters=0).seconds == 5.0  # type: ignore[arg-type]


def test_a_probe_is_fitted_and_logged_as_one_epoch(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path
) -> None:
    heard: list[Any] = []
    trained, _ = run(setting, "linear-probe", tmp_path, heard)
    assert any("frozen features" in event.text for event in heard if isinstance(event, Notice))
    (end,) = trained.ends
    assert [row["epoch"] for row in end.history] == [0]
    assert end.history[0]["val"]["balanced_accuracy"]["chest"] > 0.8, "brightness tells the class"
    assert end.best == end.history[0]["val"]["mean"]
    backbone = trained.live.backbone.state_dict()
    assert all(torch.equal(value, backbone[key]) for key, value in setting[2].model.backbone.state_dict().items())


def test_each_phase_of_distilled_students_hears_of_its_own_region(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    from lorkit.decompose.methods.distillation import feature_and_logit

    real = feature_and_logit.DistillingModule.forward

    def spy(self: Any, batch: Any, teacher: Any) -> Any:
        asked.append(tuple(teacher.logits))
        widths = {name: logits.shape[1] for name, logits in teacher.logits.items()}
        assert all(widths[name] == len(setting[1].regions.get(name).classes) for name in widths)
        return real(self, batch, teacher)

    monkeypatch.setattr(feature_and_logit.DistillingModule, "forward", spy)
    run(setting, "stl-kd", tmp_path, [])
    assert set(asked) == {("chest",), ("knee",)}


def test_lora_kd_is_taught_by_what_lora_made_of_the_foundation(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("peft", reason="the extra 'peft' is not installed")
    from lorkit.decompose.methods.distillation import kd

    asked: list[Any] = []
    real = kd.LogitModule.query_teacher

    def spy(self: Any, teacher: Any, batch: Any) -> Any:
        asked.append(teacher)
        return real(self, teacher, batch)

    monkeypatch.setattr(kd.LogitModule, "query_teacher", spy)
    trained, _ = run(setting, "lora-kd", tmp_path, [])
    lora, _ = run(setting, "lora", tmp_path / "lora", [])
    stl, _ = run(setting, "stl", tmp_path / "stl", [])
    teacher = next(teacher for teacher in asked if "knee" in teacher.heads)
    assert isinstance(lora.live, SeparateModels)
    expected = lora.live.models["knee"].state_dict()
    assert expected
    for key, value in teacher.state_dict().items():
        torch.testing.assert_close(value, expected[key], msg=key)
    assert trained.parameters == lora.parameters + stl.parameters, "both trainings are paid for"
    assert not any(module.training for module in teacher.modules())


def test_pseudo_labels_are_of_the_teacher_that_teaches(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, material, foundation = setting
    knee = material.train["knee"]
    others = {"knee": replace(knee, labels=np.full(len(knee), -1), target_names=())}
    config = config.model_copy(update={"unlabelled": config.unlabelled.model_copy(update={"pseudo_labels": 0.1})})
    teachers: list[Any] = []
    real = phases.with_pseudo_labels

    def spy(data: TrainingData, teacher: Foundation, *rest: Any) -> TrainingData:
        found = real(data, teacher, *rest)
        teachers.append((teacher.regions.names, teacher.model, (found.unlabelled["knee"].labels >= 0).all()))
        return found

    monkeypatch.setattr(phases, "with_pseudo_labels", spy)
    given = (config, replace(material, unlabelled=others), foundation)
    run(given, "finetune-kd", tmp_path, [])
    tuned, _ = run(setting, "finetune", tmp_path / "tuned", [])
    assert isinstance(tuned.live, SeparateModels)
    ((_, _, chest), (names, model, labelled)) = teachers
    assert (chest, names, labelled) == (False, ("knee",), True)
    for key, value in tuned.live.models["knee"].state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, msg=key)


def test_who_needs_a_foundation() -> None:
    needs = {name: needs_foundation(get_method(name)) for name in ("stl", "mtl", "lorkd", "stl-kd", "finetune", "lora")}
    assert needs == {"stl": False, "mtl": False, "lorkd": True, "stl-kd": True, "finetune": True, "lora": True}


def test_the_default_has_settings_for_lora() -> None:
    assert default_config(overrides=["lora.rank=4"]).lora.rank == 4


def test_a_module_that_was_built_before_is_trained_as_if_it_were_built_now(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, data, foundation = setting
    config, method = base.model_copy(update={"method": "stl"}), get_method("stl")
    begun: list[tuple[nn.Module, torch.Tensor]] = []

    def begin(module: Any, phase: Any, *_: object) -> Finished:
        begun.append((module, torch.get_rng_state()))
        return Finished(phase=phase.name, best_epoch=0, best=0.5, seconds=1.0)

    monkeypatch.setattr("lorkit.decompose.training.phases.run_phase", begin)
    shared = {"directory": tmp_path, "fabric": launch(config.train), "on_event": lambda _: None}
    train_phases(config, method, data, foundation, **shared)
    torch.manual_seed(config.seed)
    before = BuiltModule(method.build(config, method.phases(data.regions)[0], None), torch.get_rng_state())
    torch.manual_seed(5)
    train_phases(config, method, data, foundation, **shared, built={"stl": before})
    (chest, now), (knee, _), (given, later), (other, _) = begun
    assert given is before.module
    assert torch.equal(now, later)
    assert other is not given, "the next region gets a network of its own"
    for fresh, kept in ((chest, given), (knee, other)):
        expected = fresh.state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in kept.state_dict().items())


def test_a_teacher_that_is_weaker_than_its_student_is_announced(
    setting: tuple[Config, TrainingData, Foundation], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, data, foundation = setting
    config = config.model_copy(update={"method": "lorkd"})
    device = torch.device("cpu")
    names = data.regions.names
    foundation = replace(foundation, model=copy.deepcopy(foundation.model))
    with torch.no_grad():
        for head in foundation.model.heads.values():  # one answer for every image
            head.weight.zero_()
    found = teacher_scores(foundation, data, data.regions, device)
    assert found == {name: 1 / len(data.regions.get(name).classes) for name in names}
    monkeypatch.setattr(phases, "teacher_scores", lambda *_: {names[0]: -0.5, names[1]: 1.5})
    probes = replace(foundation, heads=dict.fromkeys(names, "probe"))
    told: list[str] = []

    def listen(event: Any) -> None:
        told.extend([event.text] if isinstance(event, Notice) else [])

    fabric = launch(config.train)
    train_phases(config, get_method("lorkd"), data, probes, directory=tmp_path, fabric=fabric, on_event=listen)
    said = [text for text in told if "the teacher is weaker than its student" in text]
    assert [text.split("'")[1] for text in said] == [names[0]]
    assert any("lorkd.logit_kd has nothing to teach" in text for text in told)
