"""A region more: what is there stays bit by bit, what is new was trained, and the chain says where it came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from resealing import reseal

from lorkit.decompose.artifacts import load_tensors, read_json, verify_chain
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Event, Saved
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle import train_from
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.runs import Run, open_run

Pair = tuple[Run, Run]


def weights(run: Run | Path) -> dict[str, torch.Tensor]:
    return load_tensors((run.path if isinstance(run, Run) else run) / "model.safetensors")


def test_the_other_experts_are_the_same_bits_when_extracted(grown: Pair, tmp_path: Path, without_program: None) -> None:
    old, new = grown
    before = extract(old, region="chest,knee", out=tmp_path / "old")
    after = extract(new, region="chest,knee", out=tmp_path / "new")
    for one, other in zip(before, after, strict=True):
        expected, found = load_tensors(one.path / "model.safetensors"), load_tensors(other.path / "model.safetensors")
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_the_new_region_was_trained_and_can_be_extracted(grown: Pair, tmp_path: Path, without_program: None) -> None:
    _, new = grown
    tensors = weights(new)
    ups = [value for key, value in tensors.items() if ".up.wrist" in key]
    assert ups
    assert any(bool(value.any()) for value in ups)
    (expert,) = extract(new, region="wrist", out=tmp_path)
    assert expert.max_difference < 1e-3
    assert read_json(expert.path / "expert.json")["classes"] == ["low", "high"]


def test_the_new_run_is_whole_and_names_the_old_one(grown: Pair) -> None:
    old, new = grown
    assert new.regions.names == ("chest", "knee", "wrist")
    assert [manifest.kind for manifest in verify_chain(new.path)] == ["run", "foundation"]
    origin = {"kind": "run", "sha256": old.manifest.digest, "change": "add-region", "region": "wrist"}
    assert new.manifest.extra["origin"] == origin
    assert new.config.regions["chest"] == old.config.regions["chest"]
    assert new.config.foundation.regions == ("chest", "knee")  # those that it was trained on
    before, after = (read_json(run.path / "splits.json", kind="splits") for run in (old, new))
    for key in ("regions", "labels", "keys"):
        assert after[key].pop("wrist")
    assert before == after
    assert '"phase": "add-wrist"' in (new.path / "metrics.jsonl").read_text()


def test_the_foundation_has_its_old_heads_and_a_probe(grown: Pair) -> None:
    old, new = grown
    assert load_foundation(new.foundation_dir).heads == {"chest": "own", "knee": "probe", "wrist": "probe"}
    before, after = weights(old.foundation_dir), weights(new.foundation_dir)
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("norm", ["shared", "statistics", "region"])
@pytest.mark.parametrize("layout", ["conv", "reshape"])
@pytest.mark.usefixtures("tiny")
def test_nothing_but_the_new_regions_own_moves(
    make_run: Callable[..., Run], wrist: Path, tmp_path: Path, norm: str, layout: str
) -> None:
    settings = {"lorkd.norm": norm, "lorkd.layout": layout, "lorkd.depthwise": True, "train.optimizer": "sgd"}
    settings |= {"foundation.backbone": "tiny_depthwise", "student.backbone": "tiny_depthwise"}
    old = make_run(tmp_path / "runs" / "old", **settings)
    new = train_from(old.path, overrides=[f"regions.wrist.data={wrist}"], add_region="wrist", out=tmp_path / "runs")
    before, after = weights(old), weights(new.run)
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    added = after.keys() - before.keys()
    assert added
    assert all(owner_of(key, ("wrist",)) for key in added)
    statistics = [key for key in added if key.endswith("running_mean")]
    assert bool(statistics) == (norm != "shared")
    assert any(key.endswith("regions.wrist.weight") for key in added) == (norm == "region")


@pytest.mark.usefixtures("tiny")
def test_a_region_is_added_with_weights_by_its_teacher_and_the_norms_that_the_run_shares(
    make_run: Callable[..., Run], wrist: Path, tmp_path: Path
) -> None:
    old = make_run(tmp_path / "runs" / "old", **{"lorkd.shared_norms": ["*bn1"]})
    told: list[Event] = []
    data = [f"regions.wrist.data={wrist}"]
    new = train_from(
        old.path,
        overrides=[*data, "lorkd.kd_by_region=auto", "train.epochs=2"],
        add_region="wrist",
        out=tmp_path / "runs",
        on_event=told.append,
    )
    config = open_run(new.run).config
    assert (config.lorkd.kd_by_region, config.lorkd.shared_norms) == ("auto", ("*bn1",))
    assert any("lorkd.logit_kd has nothing to teach wrist with" in getattr(event, "text", "") for event in told)
    own = [key for key in weights(new.run) if owner_of(key, ("wrist",))]
    assert not any("bn1.regions" in key for key in own)
    with pytest.raises(UsageError, match=r"shared_norms"):
        train_from(old.path, overrides=[*data, "lorkd.shared_norms=[]"], add_region="wrist", out=tmp_path / "runs")


def test_only_the_new_regions_data_are_read(small_run: Run, wrist: Path, tmp_path: Path) -> None:
    config = small_run.path / "config.yaml"
    config.write_text(config.read_text().replace("chest.npz", "gone.npz"))
    reseal(small_run.path)
    again = open_run(small_run.path)
    result = train_from(again.path, overrides=[f"regions.wrist.data={wrist}"], add_region="wrist", out=tmp_path / "r")
    assert open_run(result.run).regions.names == ("chest", "knee", "wrist")


def test_a_second_time_it_is_up_to_date_and_the_old_run_is_untouched(grown: Pair, wrist: Path) -> None:
    old, new = grown
    again = train_from(
        old.path,
        overrides=[f"regions.wrist.data={wrist}", "train.epochs=2"],
        add_region="wrist",
        out=new.path.parent,
    )
    assert again.up_to_date
    assert again.run == new.path
    assert open_run(old.path).manifest == old.manifest


def test_a_dry_run_plans_the_new_region_alone(small_run: Run, wrist: Path, tmp_path: Path) -> None:
    out = tmp_path / "planned"
    result = train_from(
        small_run.path, overrides=[f"regions.wrist.data={wrist}"], add_region="wrist", out=out, dry_run=True
    )
    assert not out.exists()
    assert result.plan is not None
    assert list(result.plan.regions) == ["wrist"]
    own = sum(value.numel() for key, value in weights(small_run).items() if owner_of(key, ("chest",)))
    assert 0 < result.plan.training_parameters <= own  # the same factors without the statistics
    assert (result.plan.foundation.epochs, result.plan.foundation.steps_per_epoch) == (0, 0)


def test_interrupting_and_resuming_changes_no_bit(small_run: Run, grown: Pair, wrist: Path, tmp_path: Path) -> None:
    words = {"overrides": [f"regions.wrist.data={wrist}", "train.epochs=2"], "add_region": "wrist"}

    def stop(event: Event) -> None:
        if isinstance(event, Saved) and event.epoch == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_from(small_run.path, out=tmp_path / "cut", on_event=stop, **words)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--resume"):
        train_from(small_run.path, out=tmp_path / "cut", **words)  # type: ignore[arg-type]
    resumed = train_from(small_run.path, out=tmp_path / "cut", resume=True, **words)  # type: ignore[arg-type]
    expected, found = weights(grown[1]), weights(resumed.run)
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_what_cannot_be_added_is_refused(
    small_run: Run, make_run: Callable[..., Run], wrist: Path, tmp_path: Path
) -> None:
    data, out = f"regions.wrist.data={wrist}", tmp_path / "out"
    for words, overrides, message in (
        ("chest", [data], "is in run"),
        ("wrist", [], r"--set regions\.wrist\.data"),
        ("Wrist!", [], "region name"),
        ("wrist", [data, "image.size=24"], r"image\.size"),
        ("wrist", [data, "lorkd.rank=2"], r"lorkd\.ranks\.wrist"),
        ("wrist", [data, "lorkd.ranks={knee: 2}"], r"lorkd\.ranks\.knee"),
        ("wrist", [data, "student.backbone=resnet18"], r"student\.backbone"),
        ("wrist", [data, "method=mtl"], "method mtl"),
    ):
        with pytest.raises(UsageError, match=message):
            train_from(small_run.path, overrides=overrides, add_region=words, out=out)
    baseline = make_run(tmp_path / "runs" / "mtl", method="mtl")
    with pytest.raises(UsageError, match="a run of method 'mtl'"):
        train_from(baseline.path, overrides=[data], add_region="wrist", out=out)
    assert not out.exists()


@pytest.mark.usefixtures("tiny")
def test_the_published_weights_that_a_run_began_with_are_needed_no_more(
    make_run: Callable[..., Run], wrist: Path, tmp_path: Path
) -> None:
    gone = {"student.weights": tmp_path / "gone.pth", "foundation.weights": tmp_path / "other.pth"}
    old = make_run(tmp_path / "runs" / "old", **gone, **{"foundation.finetune": "{epochs: 3}"})
    how = {"overrides": [f"regions.wrist.data={wrist}"], "add_region": "wrist", "out": tmp_path / "runs"}
    plan = train_from(old.path, **how, dry_run=True).plan
    assert plan is not None
    assert plan.foundation is not None
    assert (plan.foundation.epochs, plan.student.weights_match) == (0, None)
    new = open_run(train_from(old.path, **how).run)
    assert new.config.student.weights == str(gone["student.weights"])  # where its student began
    assert new.config.foundation.regions == ("chest", "knee")  # those that it was fine-tuned on
    left = train_from(new.path, remove_region="chest", out=tmp_path / "runs", dry_run=True)
    assert left.plan is not None
    assert train_from(new.path, remove_region="chest", out=tmp_path / "runs").regions == ("knee", "wrist")


def test_unlabelled_images_teach_the_new_region_and_stay_counted(
    grown: Pair, wrist: Path, tmp_path: Path, without_program: None
) -> None:
    old, plain = grown
    images = np.random.default_rng(5).integers(0, 256, (20, 20, 20), dtype=np.uint8)
    np.savez(tmp_path / "more.npz", images=images)
    named = [f"regions.wrist.data={wrist}", f"regions.wrist.unlabelled={tmp_path / 'more.npz'}", "train.epochs=2"]
    out = {"add_region": "wrist", "out": tmp_path / "runs"}
    told: list[Event] = []
    plan = train_from(old.path, overrides=named, dry_run=True, **out).plan
    new = train_from(old.path, overrides=[*named, "unlabelled.pseudo_labels=0.5"], on_event=told.append, **out)
    assert plan is not None
    assert plan.regions["wrist"]["unlabelled"] == 20
    assert "of 20 unlabelled images have a pseudo-label" in str(told)
    run = open_run(new.run)
    assert run.config.unlabelled.pseudo_labels == 0.5
    assert run.unlabelled("wrist") == {"unlabelled": 20}
    assert any(not torch.equal(value, weights(run)[key]) for key, value in weights(plain).items())
    (expert,) = extract(run, region="wrist", out=tmp_path / "wrist")
    assert "unlabelled 20" in (expert.path / "README.md").read_text()
    # further changes keep the number of each region that stays
    kept = train_from(run.path, remove_region="chest", out=tmp_path / "runs").run
    assert open_run(kept).unlabelled("wrist") == {"unlabelled": 20}
    without = train_from(run.path, remove_region="wrist", out=tmp_path / "runs").run
    assert "wrist" not in open_run(without).manifest.extra.get("unlabelled", {})


def test_held_out_patients_may_not_teach_the_new_region(grown: Pair, wrist: Path, tmp_path: Path) -> None:
    named = [f"regions.wrist.data={wrist}", f"regions.wrist.unlabelled={wrist}"]
    with pytest.raises(DataError, match=r"unlabelled sample .* part of region 'wrist'"):
        train_from(grown[0].path, overrides=named, add_region="wrist", out=tmp_path / "runs", dry_run=True)
