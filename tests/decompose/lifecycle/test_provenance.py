"""What a run takes over of the foundation that it came from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.lifecycle.provenance import origin_record, with_heads, with_known_head
from lorkit.decompose.models.foundation.model import Foundation, load_foundation
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import Run


def narrow(foundation: Foundation, digest: str) -> Foundation:
    """The foundation as a run without `chest` keeps it."""
    left = RegionSet(one for one in foundation.regions if one.name != "chest")
    return replace(with_heads(foundation, left), source={"manifest": digest})


def test_a_head_is_found_where_the_foundation_came_from(make_run: Callable[..., Run], tmp_path: Path) -> None:
    kept = tmp_path / "foundation"
    run = make_run(tmp_path / "runs" / "small", **{"foundation.weights": kept})
    whole = load_foundation(Path(shutil.copytree(run.foundation_dir, kept)))
    region = run.regions.get("chest")
    found = with_known_head(run, narrow(whole, digest_file(kept / "manifest.json")), region)
    assert found.heads == {"chest": "own"}
    head = found.model.heads["chest"].state_dict()
    assert all(torch.equal(value, head[key]) for key, value in whole.model.heads["chest"].state_dict().items())
    for foundation, wanted in (
        (narrow(whole, "another digest"), region),  # the directory holds something else by now
        (narrow(whole, digest_file(kept / "manifest.json")), replace(region, classes=("a", "b"))),
        (narrow(whole, digest_file(kept / "manifest.json")), run.regions.get("knee")),  # a probe is nobody's own
    ):
        assert with_known_head(run, foundation, wanted).heads == {}


def test_a_foundation_keeps_the_heads_of_the_named_regions_alone(small_run: Run) -> None:
    whole = load_foundation(small_run.foundation_dir)
    left = with_heads(whole, RegionSet([small_run.regions.get("knee")]))
    assert left.heads == {"knee": "probe"}
    assert not [key for key in left.model.state_dict() if "chest" in key]
    assert torch.equal(left.model.heads["knee"].weight, whole.model.heads["knee"].weight)  # type: ignore[arg-type]


def test_an_origin_is_recorded_by_digest(small_run: Run) -> None:
    digest = small_run.manifest.digest
    assert origin_record(small_run.manifest, "x", region="y") == {
        "kind": "run",
        "sha256": digest,
        "change": "x",
        "region": "y",
    }
