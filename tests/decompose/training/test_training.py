"""The verbs `train` and `pretrain` on two small regions of drawn files: what lies on disk, and what survives what."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts import digest_file, exclusive, load_tensors, read_json, read_manifest, verify_chain
from lorkit.decompose.config import Config, load_config
from lorkit.decompose.errors import ArtifactError, DataError, StorageError, UsageError
from lorkit.decompose.events import Event, Notice, Saved, Started, Step, Working
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.regional import SeparateModels
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.live_model import load_model
from lorkit.decompose.training.training import pretrain, train
from lorkit.decompose.training.work_directory import work_directory

CLASSES = {"chest": ("normal", "pneumonia"), "knee": ("none", "mild", "severe")}
SETTINGS = """
image: {size: 16, channels: 1}
split: {val: 0.25, test: 0.25}
regions: {chest: {data: chest.npz}, knee: {data: knee.npz}}
foundation: {backbone: tiny_resnet_wide, epochs: 1}
student: {backbone: tiny_resnet}
train: {epochs: 2, batch_size: 8, lr: 0.02}
"""
Make = Callable[..., Config]


@pytest.fixture(scope="module")
def home(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all tests, so that its foundation is trained once."""
    home = tmp_path_factory.mktemp("home")
    for seed, (name, classes) in enumerate(CLASSES.items()):
        rng = np.random.default_rng(seed)
        labels = np.arange(48) % len(classes)
        images = np.clip(60 + 60 * labels[:, None, None] + rng.normal(0, 20, (48, 20, 20)), 0, 255).astype(np.uint8)
        groups = np.array([f"p{index}" for index in range(48)])
        np.savez(home / f"{name}.npz", images=images, labels=labels, label_names=np.array(classes), groups=groups)
    (home / "decompose.yaml").write_text(SETTINGS, encoding="utf-8")
    return home


@pytest.fixture
def make(home: Path) -> Make:
    return lambda *overrides: load_config(home / "decompose.yaml", overrides=("name=small", *overrides))


@pytest.fixture
def out(home: Path, request: pytest.FixtureRequest) -> Path:
    return home / f"{request.node.name}-runs"


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """A run that nothing disturbed, by default settings; tests copy it before they touch it."""
    return train(load_config(home / "decompose.yaml", overrides=("name=small",)), out=home / "whole-runs").run


class Stop:
    """A listener that presses Ctrl-C after so many epochs of the student."""

    def __init__(self, after: int) -> None:
        self.after, self.events = after, list[Event]()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Saved) and event.phase == "lorkd" and event.epoch + 1 == self.after:
            raise KeyboardInterrupt


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / "model.safetensors")


def test_train_leaves_a_whole_run_and_finds_it_again(make: Make, out: Path) -> None:
    events: list[Event] = []
    result = train(make(), out=out, on_event=events.append)
    run = open_run(result.run)
    assert run.regions.names == result.regions == ("chest", "knee")
    assert [manifest.kind for manifest in verify_chain(result.run)] == ["run", "foundation"]
    assert not run.manifest.synthetic
    assert set(read_json(result.run / "splits.json", kind="splits")["regions"]) == {"chest", "knee"}
    assert len((result.run / "metrics.jsonl").read_text().splitlines()) == 2
    assert (result.run / "foundation" / "manifest.json").is_file()
    assert torch.equal(
        load_model(result.run).state_dict()["heads.chest.weight"], weights(result.run)["heads.chest.weight"]
    )
    assert [event.phase for event in events if isinstance(event, Started)][-1] == "lorkd"
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == [".patient-key"]
    told = [event.text for event in events if isinstance(event, Working) and event.done == event.total]
    assert [*dict.fromkeys(told)] == ["reading data", "preparing chest", "preparing knee"]
    events.clear()
    again = train(make(), out=out, on_event=events.append)
    assert again.up_to_date
    assert {event.text for event in events if isinstance(event, Working)} == {"reading data"}
    assert all(isinstance(event, Working) for event in events)
    assert again.run == result.run


def test_a_foundation_is_trained_once_and_reused(make: Make, out: Path) -> None:
    found = pretrain(make(), out=out.parent / "foundations")
    assert found is not None
    events: list[Event] = []
    result = train(make("method=mtl", "student.backbone=resnet18"), out=out, on_event=events.append)
    assert {event.phase for event in events if isinstance(event, Started)} == {"mtl"}
    assert (found / "metrics.jsonl").is_file()
    assert load_foundation(result.run / "foundation").heads == {"chest": "own", "knee": "own"}


def test_stl_trains_one_network_a_region(make: Make, out: Path) -> None:
    result = train(make("method=stl", "train.epochs=1"), out=out)
    assert set(result.best) == {"stl-chest", "stl-knee"}
    assert isinstance(load_model(result.run), SeparateModels)


def test_interrupting_and_resuming_changes_no_bit(make: Make, out: Path, whole: Path) -> None:
    stop = Stop(after=1)
    with pytest.raises(KeyboardInterrupt):
        train(make(), out=out, on_event=stop)
    assert "--resume" in [event.text for event in stop.events if isinstance(event, Notice)][-1]
    goal = out / whole.name
    assert not goal.exists()
    assert list(work_directory(goal).glob("checkpoints/lorkd/epoch-0001.pt"))
    with pytest.raises(UsageError, match="--resume"):
        train(make(), out=out)
    resumed = train(make(), out=out, resume=True)
    expected = weights(whole)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(resumed.run).items())
    assert len((resumed.run / "metrics.jsonl").read_text().splitlines()) == 2


def test_curves_go_on_after_an_interruption_and_are_no_part_of_the_digests(make: Make, out: Path, whole: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra 'tensorboard' is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(KeyboardInterrupt):
        train(make(), out=out, tensorboard=True, on_event=Stop(after=1))
    assert list(work_directory(out / whole.name).glob("tensorboard/lorkd/events.out.tfevents.*"))
    run = train(make(), out=out, tensorboard=True, resume=True).run
    assert run.name == whole.name, "curves decide nothing"
    reader = EventAccumulator(str(run / "tensorboard" / "lorkd")).Reload()
    per_epoch = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [event.step for event in reader.Scalars("loss/ce")]
    assert steps == list(range(len(steps)))
    assert {f"loss/{term}" for term in per_epoch[0]["loss"]} < set(reader.Tags()["scalars"])
    chest = [event.value for event in reader.Scalars("val_balanced_accuracy/chest")]
    assert chest == pytest.approx([row["val"]["balanced_accuracy"]["chest"] for row in per_epoch])
    assert not any(name.startswith("tensorboard") for name in read_manifest(run).files)
    shutil.rmtree(run / "tensorboard")
    assert verify_chain(run)


def test_a_damaged_checkpoint_is_refused(make: Make, out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(make(), out=out, on_event=Stop(after=1))
    path = next(out.glob(".*/checkpoints/lorkd/epoch-*.pt"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match=r"remove .*checkpoints.lorkd and repeat the command"):
        train(make(), out=out, resume=True)


def test_forcing_keeps_the_old_run_until_the_new_one_is_whole(make: Make, out: Path, whole: Path) -> None:
    run = Path(shutil.copytree(whole, out / whole.name))
    before = digest_file(run / "manifest.json")
    with pytest.raises(KeyboardInterrupt):
        train(make(), out=out, force=True, on_event=Stop(after=1))
    assert read_manifest(run).digest == before
    train(make(), out=out, resume=True, force=True)
    assert digest_file(run / "manifest.json") != before


def test_two_processes_do_not_train_the_same_run(make: Make, out: Path) -> None:
    goal = train(make(), out=out, dry_run=True).run
    with exclusive(goal), pytest.raises(StorageError, match="another process"):
        train(make(), out=out)


def test_a_dry_run_plans_and_writes_nothing(make: Make, out: Path) -> None:
    before = sorted(out.parent.rglob("*"))
    plan = train(make("method=stl"), out=out, dry_run=True).plan
    assert plan is not None
    assert sorted(out.parent.rglob("*")) == before
    assert [phase.region_names for phase in plan.phases] == [["chest"], ["knee"]]
    assert plan.phases[0].steps_per_epoch == round(plan.regions["chest"]["train"] / 8)
    assert plan.foundation.macs > 0


def test_a_region_without_a_head_gets_a_probe_and_no_logit_distillation(make: Make, out: Path) -> None:
    events: list[Event] = []
    config = make("foundation.regions=[chest]", "train.epochs=1")
    result = train(config, out=out, on_event=events.append)
    assert load_foundation(result.run / "foundation").heads == {"chest": "own", "knee": "probe"}
    assert any("knee" in event.text for event in events if isinstance(event, Notice))
    row = (result.run / "metrics.jsonl").read_text()
    assert '"logit_kd": {"chest"' in row
    assert row.count('"knee"') == 4  # ce, feature_kd, projector, validation


def test_a_foundation_of_ones_own(make: Make, out: Path) -> None:
    found = pretrain(make(), out=out.parent / "foundations")
    assert found is not None
    tensors = load_tensors(found / "model.safetensors")
    backbone = {key.removeprefix("backbone."): value for key, value in tensors.items() if key.startswith("backbone.")}
    torch.save(backbone, out.parent / "mine.pth")
    events: list[Event] = []
    short = ("train.epochs=1", "foundation.weights=mine.pth")
    result = train(make(*short), out=out, on_event=events.append)
    assert load_foundation(result.run / "foundation").heads == {"chest": "probe", "knee": "probe"}
    assert any("tensors matched" in event.text for event in events if isinstance(event, Notice))
    earlier = make("train.epochs=1", f"foundation.weights={found}")
    again = train(earlier, out=out)
    assert load_foundation(again.run / "foundation").heads == {"chest": "own", "knee": "own"}
    with pytest.raises(ArtifactError, match=r"foundation\.backbone"):
        train(make("foundation.backbone=resnet18", f"foundation.weights={found}"), out=out)
    with pytest.raises(DataError, match="no file"):
        train(make("foundation.weights=absent.pth"), out=out)


def test_unknown_names_are_refused_before_anything_is_read(make: Make, out: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'lorkd'"):
        train(make("method=lorkdd"), out=out)
    with pytest.raises(UsageError, match="resnet18"):
        train(make("student.backbone=resnet19"), out=out)
    assert not out.exists()


def test_a_step_reports_rates(make: Make, out: Path) -> None:
    steps: list[Step] = []
    train(
        make("method=mtl", "train.epochs=1"),
        out=out,
        on_event=lambda event: steps.append(event) if isinstance(event, Step) else None,
    )
    assert all(
        step.images_per_second > 0 and step.loader_images_per_second > 0 and step.memory_mib > 0 for step in steps
    )


def without_labels(home: Path, count: int = 30) -> Path:
    """Write chest images of further patients, without labels."""
    images = np.random.default_rng(9).integers(0, 256, (count, 20, 20), dtype=np.uint8)
    np.savez(home / f"more{count}.npz", images=images, patient=np.array([f"q{index}" for index in range(count)]))
    return home / f"more{count}.npz"


def test_unlabelled_images_are_counted_used_and_decide_the_run(make: Make, home: Path, out: Path) -> None:
    more = f"regions.chest.unlabelled={without_labels(home)}"
    plan = train(make(more), out=out, dry_run=True).plan
    assert plan is not None
    assert plan.regions["chest"]["unlabelled"] == 30
    assert "unlabelled" not in plan.regions["knee"]
    told: list[Event] = []
    run = train(make(more), out=out, on_event=told.append).run
    manifest = read_manifest(run, kind="run")
    assert {key: manifest.extra["unlabelled"]["chest"][key] for key in ("n", "groups")} == {"n": 30, "groups": 30}
    plain = train(make(), out=out).run
    assert plain != run
    assert any((weights(run)[name] != value).any() for name, value in weights(plain).items())
    assert train(make(more), out=out).up_to_date
    assert not train(make(f"regions.chest.unlabelled={without_labels(home, 20)}"), out=out, dry_run=True).up_to_date
    # without a share they have no part in the training
    off = train(make(more, "unlabelled.share=0"), out=out)
    assert all(torch.equal(weights(off.run)[name], value) for name, value in weights(plain).items())


def test_an_interrupted_training_with_unlabelled_images_resumes_to_the_bit(make: Make, home: Path, out: Path) -> None:
    config = make(f"regions.chest.unlabelled={without_labels(home)}", "foundation.image={size: 20}")
    whole = train(config, out=out / "whole").run
    with pytest.raises(KeyboardInterrupt):
        train(config, out=out / "torn", on_event=Stop(1))
    torn = train(config, out=out / "torn", resume=True).run
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(torn)[name]), name


def test_methods_without_a_teacher_say_that_they_do_not_use_them(make: Make, home: Path, out: Path) -> None:
    told: list[Event] = []
    config = make(f"regions.chest.unlabelled={without_labels(home)}").model_copy(update={"method": "mtl"})
    plan = train(config, out=out, dry_run=True, on_event=told.append).plan
    assert plan is not None
    assert "unlabelled" not in plan.regions["chest"]
    assert "the unlabelled images of chest are not used: mtl has no teacher" in str(told)


def test_a_dry_run_tells_what_the_training_would(make: Make, out: Path) -> None:
    told: list[Event] = []
    train(make("lorkd.feature_kd.weight=0"), out=out, dry_run=True, on_event=told.append)
    assert str(told).count("lorkd.feature_kd.weight is 0: this distillation term is off") == 1


def test_a_dry_run_tells_of_batches_that_repeat_samples(make: Make, out: Path) -> None:
    told: list[Event] = []
    train(make("train.batch_size=100000"), out=out, dry_run=True, on_event=told.append)
    assert "train.batch_size 100000: a batch takes " in str(told)
    assert "of 'chest' from " in str(told)
    told.clear()
    train(make("train.batch_size=8"), out=out, dry_run=True, on_event=told.append)
    assert "a batch takes" not in str(told)


def test_settings_of_unlabelled_images_without_any_are_told(make: Make, out: Path) -> None:
    told: list[Event] = []
    train(make("unlabelled.pseudo_labels=0.9"), out=out, dry_run=True, on_event=told.append)
    assert "the settings unlabelled have no effect: no region names unlabelled images" in str(told)


def test_pseudo_labels_of_other_tasks_are_refused_before_anything_is_trained(
    make: Make, home: Path, out: Path, tmp_path: Path
) -> None:
    with np.load(home / "chest.npz") as arrays:
        images = arrays["images"]
    labels = np.stack([np.arange(len(images)) % 2, np.arange(len(images)) % 3 == 0], 1)
    np.savez(tmp_path / "many.npz", images=images, labels=labels, label_names=np.array(["a", "b"]))
    named = [f"regions.chest.unlabelled={without_labels(home)}", "unlabelled.pseudo_labels=0.9"]
    named += [f"regions.chest.data={tmp_path / 'many.npz'}", "regions.chest.task=multilabel"]
    with pytest.raises(UsageError, match="pseudo_labels for region 'chest' of task multilabel"):
        train(make(*named), out=out, dry_run=True)


def test_the_rest_of_a_fraction_is_for_comparisons(make: Make, out: Path) -> None:
    with pytest.raises(UsageError, match=r"unlabelled\.rest in a single training"):
        train(make("unlabelled.rest=true"), out=out)
