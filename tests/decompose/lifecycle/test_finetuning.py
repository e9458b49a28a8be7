"""An expert as the start of something new: its weights, its head where the classes are the same, its digest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from resealing import reseal

from lorkit.decompose.artifacts import load_tensors, read_json
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Event, Notice
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle import finetune_expert, train_from
from lorkit.decompose.lifecycle.finetuning import _with_expert_network
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.regional import SeparateModels
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.live_model import load_model

from .conftest import write_region

Make = Callable[..., Config]


@pytest.fixture(scope="module")
def expert(made_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chest expert, copied away from its run."""
    home = tmp_path_factory.mktemp("home")
    run = open_run(shutil.copytree(made_run / "runs", home / "runs") / "small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lorkit.decompose.extraction.expert_builder.write_program", lambda *_, **__: None)
        (result,) = extract(run, region="chest")
    return Path(shutil.copytree(result.path, home / "copy"))


@pytest.fixture
def make(tmp_path: Path, wrist: Path) -> Make:
    """Configurations over `wrist` with new classes, and `hand` with the classes of the chest expert."""
    write_region(tmp_path / "hand.npz", classes=("normal", "pneumonia"))
    regions = {"wrist": f"wrist: {{data: {wrist}}}", "hand": "hand: {data: hand.npz}"}

    def config(*names: str, **settings: object) -> Config:
        path = tmp_path / "decompose.yaml"
        body = ", ".join(regions[name] for name in names or regions)
        path.write_text(f"method: finetune\nregions: {{{body}}}\ntrain: {{epochs: 1, batch_size: 16}}\n")
        return load_config(path, overrides=[f"{key}={value}" for key, value in settings.items()])

    return config


def test_an_ordinary_run_comes_of_it(make: Make, expert: Path, tmp_path: Path, without_program: None) -> None:
    loaded = load_expert(expert)
    result = finetune_expert(make(), expert, out=tmp_path / "runs")
    run = open_run(result.run)
    assert set(result.best) == {"finetune-wrist", "finetune-hand"}
    origin = {"kind": "expert", "sha256": loaded.manifest.digest, "change": "finetune", "region": "chest"}
    assert run.manifest.extra["origin"] == origin
    live = load_model(run.path)
    assert isinstance(live, SeparateModels)
    start = loaded.plain.state_dict()
    moved = live.plain_network("wrist").state_dict()
    assert moved.keys() == start.keys()
    assert not torch.equal(moved["stem.weight"], start["stem.weight"])
    foundation = load_foundation(run.foundation_dir)
    assert foundation.heads == {"wrist": "probe", "hand": "own"}
    frozen = foundation.model.backbone.state_dict()
    assert all(torch.equal(value, start[key]) for key, value in frozen.items())
    assert [found.region for found in extract(run)] == ["wrist", "hand"]
    assert finetune_expert(make(), expert, out=tmp_path / "runs").up_to_date


def test_one_region_is_an_ordinary_run_too(make: Make, expert: Path, tmp_path: Path) -> None:
    result = finetune_expert(make("wrist"), expert, out=tmp_path / "runs")
    assert load_model(result.run).regions.names == ("wrist",)


def test_networks_start_from_the_experts_weights_and_its_head_for_its_classes(make: Make, expert: Path) -> None:
    from lorkit.decompose.data import prepare, read_regions, split_regions
    from lorkit.decompose.data.preprocessing.recipe import build_recipe
    from lorkit.decompose.lifecycle.finetuning import _foundation
    from lorkit.decompose.regions import RegionSet
    from lorkit.decompose.training.foundation.pretraining import with_probes
    from lorkit.decompose.training.training_data import TrainingData

    loaded = load_expert(expert)
    config = _with_expert_network(make(), loaded, [])
    samples = read_regions(config)
    splits = split_regions(samples, config.split, seed=0)
    regions = RegionSet(one.region for one in samples.values())
    train, val = (
        {
            name: prepare(one, build_recipe(config.image, config.regions[name]), indices=splits.parts(name)[part])
            for name, one in samples.items()
        }
        for part in ("train", "val")
    )
    material = TrainingData(regions=regions, train=train, val=val)
    foundation = with_probes(_foundation(loaded, config, material), material, lambda _: None)
    start = loaded.plain.state_dict()
    for phase in get_method("finetune").phases(regions):
        live = get_method("finetune").build(config, phase, foundation).live
        found = live.plain_network(phase.names[0]).state_dict()
        same = {key for key, value in found.items() if key in start and torch.equal(value, start[key])}
        head = {key for key in start if key.startswith("fc.")}
        assert len(head) == 2
        assert same == (start.keys() if phase.names[0] == "hand" else start.keys() - head)
        assert all(parameter.requires_grad for parameter in live.parameters())


def test_the_network_is_the_experts_whatever_the_configuration_says(make: Make, expert: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    config = make("wrist", **{"student.backbone": "resnet18", "image": "{channels: 3, size: 24}"})
    result = finetune_expert(config, expert, out=tmp_path / "runs", dry_run=True, on_event=events.append)
    assert result.plan is not None
    assert result.plan.input_shape == [1, 24, 24]
    assert result.plan.student.backbone == "tiny"
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert any("student.backbone is tiny" in text for text in texts)
    assert any("image.channels is 1" in text for text in texts)
    assert finetune_expert(make("wrist"), expert, dry_run=True).plan.input_shape == [1, 16, 16]  # type: ignore[union-attr]


def test_a_synthetic_expert_marks_what_comes_of_it(make: Make, expert: Path, tmp_path: Path) -> None:
    drawn = Path(shutil.copytree(expert, tmp_path / "drawn"))
    reseal(drawn, lambda manifest: manifest.update(synthetic=True))
    run = finetune_expert(make("wrist"), drawn, out=tmp_path / "runs").run
    assert open_run(run).manifest.synthetic
    assert read_json(run / "foundation" / "manifest.json")["synthetic"]


def test_what_is_no_expert_is_refused(make: Make, expert: Path, small_run: Run, tmp_path: Path) -> None:
    config = make("wrist")
    with pytest.raises(UsageError, match="no expert at"):
        finetune_expert(config, tmp_path / "absent", out=tmp_path / "runs")
    with pytest.raises(UsageError, match="is a run"):
        finetune_expert(config, small_run.path, out=tmp_path / "runs")
    broken = Path(shutil.copytree(expert, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="has changed"):
        finetune_expert(config, broken, out=tmp_path / "runs")
    with pytest.raises(UsageError, match="--method finetune"):
        train_from(expert, tmp_path / "decompose.yaml", method="mtl", out=tmp_path / "runs")


def test_weights_that_are_bound_to_a_size_say_so(make: Make, expert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_expert(expert)
    other = load_tensors(expert / "model.safetensors") | {"position": torch.zeros(3)}
    monkeypatch.setattr(
        "lorkit.decompose.lifecycle.finetuning.detach_head",
        lambda _: type("Plain", (), {"state_dict": lambda _: other})(),
    )
    with pytest.raises(UsageError, match=r"image\.size"):
        _with_expert_network(make("wrist"), loaded, [])
