"""A region less: no byte of it is left, everything else is the same bits, and nothing was trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorkit.decompose.artifacts import load_tensors, read_json, verify_chain, write_text
from lorkit.decompose.artifacts.files import save_tensors
from lorkit.decompose.errors import ParityError, UsageError
from lorkit.decompose.events import Event, Notice
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle import remove_region, train_from
from lorkit.decompose.lifecycle.removing import traces
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.models.ownership import owner_of
from lorkit.decompose.runs import Run, open_run

Pair = tuple[Run, Run]


def digest(value: torch.Tensor) -> str:
    return hashlib.sha256(value.numpy().tobytes()).hexdigest()


def files(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.is_file()]


@pytest.mark.parametrize("region", ["chest", "wrist"])
def test_no_byte_of_the_region_is_left(grown: Pair, tmp_path: Path, region: str) -> None:
    _, run = grown
    events: list[Event] = []
    left = train_from(run.path, remove_region=region, out=tmp_path / "runs", on_event=events.append).run
    assert not events
    assert {path.name for path in files(left)} >= {"config.yaml", "splits.json", "metrics.jsonl", "foundation.json"}
    found = [path for path in files(left) if region.encode() in path.read_bytes()]
    assert not found
    theirs = {
        digest(value)
        for name in ("model.safetensors", "foundation/model.safetensors")
        for key, value in load_tensors(run.path / name).items()
        if owner_of(key, (region,)) and len(value.unique()) > 1  # counters and zeros tell nothing
    }
    assert theirs
    kept = [load_tensors(left / name) for name in ("model.safetensors", "foundation/model.safetensors")]
    assert not theirs & {digest(value) for tensors in kept for value in tensors.values()}


def test_the_others_are_the_same_bits(grown: Pair, tmp_path: Path, without_program: None) -> None:
    _, run = grown
    result = train_from(run.path, remove_region="chest", out=tmp_path / "runs")
    left = open_run(result.run)
    assert left.regions.names == result.regions == ("knee", "wrist")
    assert [manifest.kind for manifest in verify_chain(left.path)] == ["run", "foundation"]
    before, after = (load_tensors(one.path / "model.safetensors") for one in (run, left))
    assert after.keys() == {key for key in before if not owner_of(key, ("chest",))}
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    splits, old = (read_json(one.path / "splits.json") for one in (left, run))
    assert splits["regions"] == {name: old["regions"][name] for name in ("knee", "wrist")}
    one, other = (extract(of, region="knee", out=tmp_path / of.id)[0] for of in (run, left))
    expected, found = load_tensors(one.path / "model.safetensors"), load_tensors(other.path / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert load_foundation(left.foundation_dir).heads == {"knee": "probe", "wrist": "probe"}
    assert left.manifest.extra["origin"] == {
        "kind": "run",
        "sha256": run.manifest.digest,
        "change": "remove-region",
    }
    assert train_from(run.path, remove_region="chest", out=tmp_path / "runs").up_to_date


def test_settings_that_name_the_region_lose_it(make_run: Callable[..., Run], tmp_path: Path) -> None:
    settings = {"lorkd.ranks": "{chest: 2, knee: 3}", "foundation.regions": "[chest, knee]"}
    run = make_run(tmp_path / "runs" / "ranks", **settings)
    left = open_run(train_from(run.path, remove_region="chest", out=tmp_path / "runs").run)
    assert (left.config.lorkd.ranks, left.config.foundation.regions) == ({"knee": 3}, ("knee",))


def test_metrics_lose_the_region_and_its_share_of_the_mean(small_run: Run, tmp_path: Path) -> None:
    row = {
        "phase": "lorkd",
        "epoch": 0,
        "loss": {"ce": {"chest": 1.0, "knee": 2.0}, "logit_kd": {"chest": 3.0}},
        "val": {"balanced_accuracy": {"chest": 0.5, "knee": 0.75}, "mean": 0.625},
    }
    alone = {**row, "phase": "add-chest"}
    write_text(small_run.path / "metrics.jsonl", f"{json.dumps(row)}\n{json.dumps(alone)}\n")
    left = remove_region(small_run, "chest", out=tmp_path / "runs").run
    (kept,) = [json.loads(line) for line in (left / "metrics.jsonl").read_text().splitlines()]
    assert kept["loss"] == {"ce": {"knee": 2.0}}
    assert kept["val"] == {"balanced_accuracy": {"knee": 0.75}, "mean": 0.75}


@pytest.mark.parametrize("method", ["stl", "mtl"])
def test_baselines_lose_a_region_too(make_run: Callable[..., Run], tmp_path: Path, method: str) -> None:
    run = make_run(tmp_path / "runs" / method, method=method)
    left = train_from(run.path, remove_region="knee", out=tmp_path / "runs").run
    before, after = load_tensors(run.path / "model.safetensors"), load_tensors(left / "model.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    assert open_run(left).regions.names == ("chest",)


def test_a_mention_elsewhere_is_announced(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "x", name="chest-study")
    events: list[Event] = []
    train_from(run.path, remove_region="chest", out=tmp_path / "runs", on_event=events.append)
    texts = [event.text for event in events if isinstance(event, Notice)]
    assert any("config.yaml" in text for text in texts)


def test_a_tensor_that_is_left_is_found(tmp_path: Path) -> None:
    save_tensors(tmp_path / "model.safetensors", {"backbone.conv1.up.chest": torch.ones(2)})
    with pytest.raises(ParityError, match=r"up\.chest"):
        traces(tmp_path, "chest")
    assert traces(tmp_path, "knee") == []


def test_a_dry_run_shows_what_is_left(small_run: Run, tmp_path: Path) -> None:
    result = train_from(small_run.path, remove_region="chest", out=tmp_path / "runs", dry_run=True)
    assert not result.run.exists()
    assert result.plan is not None
    assert list(result.plan.regions) == ["knee"]
    assert (result.plan.epochs, result.plan.training_parameters, result.plan.phases) == (0, 0, [])


def test_what_cannot_be_removed_is_refused(small_run: Run, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with pytest.raises(UsageError, match="did you mean 'chest'"):
        train_from(small_run.path, remove_region="chesst", out=out)
    left = train_from(small_run.path, remove_region="chest", out=out)
    with pytest.raises(UsageError, match="only region"):
        train_from(left.run, remove_region="knee", out=out)
