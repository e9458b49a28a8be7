"""`extract --rank`: what lies in the expert's directory afterwards, and what was measured on which split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lorkit.decompose.artifacts import load_tensors, read_json
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.inference import predict_logits
from lorkit.decompose.extraction.extraction import ExtractResult, extract
from lorkit.decompose.metrics import paired_drop
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.locked_data import RunSplits


@pytest.fixture(autouse=True)
def _quick(without_program: None) -> None:
    """No torch program: these tests are about weights."""


def cut(run: Run, rank: int | None, **options: object) -> ExtractResult:
    (result,) = extract(run, region="knee", rank=rank, **options)  # type: ignore[arg-type]
    return result


def test_before_and_after_are_measured_on_the_validation_split(small_run: Run, tmp_path: Path) -> None:
    whole, result = cut(small_run, None, out=tmp_path / "whole"), cut(small_run, 1)
    val = RunSplits(small_run, "knee").part("knee", "val")
    before, after = (predict_logits(load_expert(one.path).network, val) for one in (whole, result))
    expected = paired_drop(val.labels, before, after, val.groups)
    info = load_expert(result.path).info.to_json()
    found = info["reduction"]["validation"]
    assert (found["split"], found["n"], found["metric"]) == ("val", len(val), "balanced_accuracy")
    assert (found["before"], found["after"]) == (expected.baseline, expected.candidate)
    assert (found["drop"], found["ci"]) == (expected.drop, list(expected.ci))
    assert info["validation"]["balanced_accuracy"] == pytest.approx(expected.candidate)
    assert info["equality"]["label_flips"] == 0  # the proof is of the network before the cut
    assert np.abs(before - after).max() > 1e-4
    assert result.reduction is not None
    assert result.reduction.to_json() == info["reduction"]
    assert 0 < info["reduction"]["energy_kept"] < 1
    assert "cut from rank 8 to 1" in (result.path / "README.md").read_text()
    assert load_expert(whole.path).info.reduction is None


def test_the_package_has_the_same_form_and_is_not_confused_with_the_whole(small_run: Run) -> None:
    whole = cut(small_run, None)
    keys = set(load_tensors(whole.path / "model.safetensors"))
    first = cut(small_run, 2)
    assert first.path == whole.path
    assert not first.up_to_date
    assert cut(small_run, 2).up_to_date
    assert set(load_tensors(first.path / "model.safetensors")) == keys
    assert first.reduction is not None
    factors = first.reduction.factor_parameters
    assert factors.before == 4 * factors.after
    assert not cut(small_run, 3).up_to_date
    again = cut(small_run, None)
    assert not again.up_to_date
    assert again.reduction is None


def test_a_rank_above_the_experts_own_changes_nothing(small_run: Run, tmp_path: Path) -> None:
    whole, same = cut(small_run, None, out=tmp_path / "whole"), cut(small_run, 64)
    expected, found = (load_tensors(one.path / "model.safetensors") for one in (whole, same))
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert same.reduction is not None
    assert (same.reduction.energy_kept, same.reduction.layers_cut) == (1.0, 0)
    assert same.reduction.validation.drop == 0


def test_what_cannot_be_cut_is_refused(small_run: Run, make_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        cut(small_run, 0)
    for method in ("mtl", "stl"):
        run = make_run(tmp_path / "runs" / method, method=method)
        with pytest.raises(UsageError, match="without low-rank experts"):
            cut(run, 2)
        assert not run.experts_dir.exists()


def test_recalibration_comes_after_the_cut(small_run: Run, tmp_path: Path) -> None:
    alone, both = cut(small_run, 1, out=tmp_path / "a"), cut(small_run, 1, recalibrate=True, out=tmp_path / "b")
    assert alone.reduction == both.reduction
    assert read_json(both.path / "expert.json")["recalibrated"]
