"""Networks of several regions that a run gives: written, read back, and checked against the trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import mixed_images
from torch import nn

from lorkit.decompose.errors import ParityError, UsageError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.extraction import mixture_builder
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.networks import RunNetworks


def test_the_expert_of_a_routed_run_has_router_adapters_and_one_head(routed_run: Run) -> None:
    expert = load_expert(routed_run.experts_dir / "knee")
    image, _ = mixed_images(routed_run)
    live = RunNetworks(routed_run).live
    with torch.no_grad():
        expected = live(image, "knee").logits["knee"]
        torch.testing.assert_close(expert.network(image), expected, rtol=1e-4, atol=1e-5)
    assert expert.info.gated_layers is not None
    assert not [key for key in expert.network.state_dict() if "chest" in key]
    card = (expert.path / "README.md").read_text()
    assert "with its router and adapters" in card
    student = RunNetworks(routed_run).student("knee")
    assert sum(value.numel() for value in student.parameters()) < expert.info.parameters


def test_evaluate_takes_the_extracted_router(routed_run: Run) -> None:
    found = evaluate(routed_run, model="experts").region_prediction
    assert found is not None
    assert found.source == "extracted"


def test_what_is_up_to_date_is_left_and_force_builds_again(by_id_run: Run) -> None:
    (again,) = extract(by_id_run, region_id=True)
    assert (again.region, again.up_to_date) == ("region-id", True)
    assert not extract(by_id_run, region_id=True, force=True)[0].up_to_date


def test_a_run_without_router_has_none(by_id_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a router of a run without one"):
        extract(by_id_run, router=True, out=tmp_path)
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_options_of_single_regions_are_refused(by_id_run: Run) -> None:
    with pytest.raises(UsageError, match="region-id with a lower rank"):
        extract(by_id_run, region_id=True, rank=1)


def test_regions_that_are_prepared_differently_are_refused(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", **{"regions.knee.intensity": "percentile"})
    with pytest.raises(UsageError, match="'chest' and 'knee' are prepared differently"):
        extract(run, region_id=True)


def test_a_network_that_picks_the_wrong_region_is_not_written(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run")
    build = mixture_builder.region_id_network

    def swapped(*arguments: object) -> nn.Module:
        network = build(*arguments)  # type: ignore[arg-type]
        pick = network.gates.pick
        network.gates.pick = lambda index: pick(1 - index)  # type: ignore[method-assign]
        return network

    monkeypatch.setattr(mixture_builder, "region_id_network", swapped)
    with pytest.raises(ParityError, match="differs from the trained model"):
        extract(run, region_id=True)
    assert not (run.experts_dir / "region-id").exists()
