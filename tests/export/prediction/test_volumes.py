"""Volumes at a spacing: the same mask from every runtime and axis order, and a plan of the memory before they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from dicom_volumes import write_series
from monai.inferers.utils import sliding_window_inference

from lorkit.decompose.data.preprocessing.decoding import decode_at
from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.data.preprocessing.stages import STAGES
from lorkit.decompose.documents.predict import SegmentedImage
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.runs import ExportSelection
from lorkit.decompose.runs.expert import load_expert
from lorkit.export import export
from lorkit.export.prediction import volumes
from lorkit.export.prediction.fast import coarser
from lorkit.export.prediction.network import open_network
from lorkit.export.prediction.prediction import predict
from lorkit.export.runtime.exported import read_exported


def masks_of(path: Path, image: Path, out: Path) -> tuple[np.ndarray, SegmentedImage]:
    document = predict(path, [image], out=out, threads=1)
    (row,) = document.predictions
    assert isinstance(row, SegmentedImage)
    assert row.mask is not None
    return np.asarray(nib.load(out / row.mask).dataobj), row


@pytest.mark.parametrize("target", ["torch", "onnx", "openvino"])
def test_every_runtime_gives_the_mask_of_monai(
    target: str, windowed: Path, write_volume: Callable[..., Path], tmp_path: Path
) -> None:
    """Against stock sliding windows of the torch network on the resampled volume, decoded whole."""
    image, expert = write_volume(tmp_path / "case.nii.gz", (37, 21, 15)), windowed.parent.parent
    path = {"torch": expert, "onnx": windowed}.get(target)
    if path is None:
        path = export(expert, target=target, profile="cpu-generic", out=tmp_path / "built").exports[0].path
    loaded = load_expert(expert)
    volume = apply_recipe(loaded.recipe, np.asarray(nib.load(image).dataobj), (1.0, 2.0, 3.0))
    assert volume.shape == (1, 18, 21, 22)
    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(volume)[None], (16, 16, 16), 1, loaded.network, 0.25, "gaussian", 0.125
        )[0].numpy()
    found, row = masks_of(path, image, tmp_path / "out")
    wanted = decode_at(logits, (37, 21, 15))
    assert (found != wanted).mean() < 1e-3  # near ties: kernels of runtimes round differently
    assert len(np.unique(found)) > 1
    assert row.case_costs is not None
    assert row.case_costs.windows == 8
    assert set(row.case_costs.stage_seconds) == set(STAGES)
    assert all(seconds > 0 for seconds in row.case_costs.stage_seconds.values())
    # how near they are is measured by benchmarks/volumes.py: the heap of a test process holds much that is free
    assert min(row.case_costs.predicted_peak_mib, row.case_costs.peak_mib) > 0


def test_the_order_of_the_axes_in_the_file_changes_nothing(
    windowed: Path, write_volume: Callable[..., Path], tmp_path: Path
) -> None:
    found = []
    for axes in ("RAS", "LIA", "PSR"):
        image = write_volume(tmp_path / f"{axes}.nii.gz", (37, 21, 15), axes=axes)
        masks_of(windowed, image, tmp_path / axes)
        with_axes = nib.as_closest_canonical(nib.load(tmp_path / axes / f"{axes}.nii.gz"))
        found.append(np.asarray(with_axes.dataobj))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_batch_changes_no_mask(
    windowed: Path, write_volume: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows, weights and order are of the recipe; kernels may round near ties differently by batch."""
    image, found = write_volume(tmp_path / "case.nii.gz", (37, 41, 15)), []
    plan = volumes.plan_windows
    for batch in (1, 4):
        monkeypatch.setattr(volumes, "plan_windows", lambda *a, n=batch, **k: replace(plan(*a, **k), batch=n))
        mask, row = masks_of(windowed, image, tmp_path / str(batch))
        assert row.case_costs is not None
        assert row.case_costs.batch == batch
        found.append(mask)
    assert (found[0] != found[1]).mean() < 1e-4


def test_a_volume_that_does_not_fit_is_refused_before_it_runs(
    windowed: Path, write_volume: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_volume(tmp_path / "case.nii.gz")
    monkeypatch.setattr(volumes, "segment_windows", None)
    with pytest.raises(DataError, match=r"case.nii.gz: .* needs \d.* at most 0.01 GiB, as --memory says"):
        predict(windowed, [image], out=tmp_path / "out", memory_gib=0.01)
    assert not (tmp_path / "out").exists()


def test_the_axes_of_a_header_are_those_of_reading(
    windowed: Path, write_volume: Callable[..., Path], tmp_path: Path
) -> None:
    """The plan is made from the header alone; an array without a file is planned from its own shape."""
    network = open_network(windowed, None, ExportSelection(), 1)
    assert network.volumes is not None
    for axes in ("RAS", "IPL"):
        case = network.volumes.begin(network.run, write_volume(tmp_path / "a.nii.gz", (37, 21, 15), axes=axes))
        assert case is not None
        assert case.windows == 8
        assert case.plan.peak > 0
    assert read_exported(windowed).recipe.window is not None


def test_fast_is_the_same_network_at_twice_the_spacing_and_says_that_nothing_judged_it(
    windowed: Path, write_volume: Callable[..., Path], tmp_path: Path
) -> None:
    image = write_volume(tmp_path / "case.nii.gz", (60, 34, 24))
    document = predict(windowed, [image], out=tmp_path / "fast", fast=True, threads=1)
    (row,) = document.predictions
    assert isinstance(row, SegmentedImage)
    assert row.case_costs is not None
    assert (document.fast, document.predictions[0].input) == (True, str(image))
    assert any("--fast" in text and "not judged" in text for text in document.warnings)
    assert (
        (tmp_path / "fast" / "predictions.csv")
        .read_text()
        .splitlines()[0]
        .startswith("input,mask,out_of_region,judged")
    )
    # by hand: every second sample of the antialiased volume, through the same windows
    network = open_network(windowed, None, ExportSelection(), 1)
    stored = np.asarray(nib.load(image).dataobj)
    volume = apply_recipe(coarser(network.recipe), stored, (1.0, 2.0, 3.0))
    assert volume.shape == (1, 15, 17, 18)
    with torch.inference_mode():
        run = load_expert(windowed.parent.parent).network
        logits = sliding_window_inference(
            torch.from_numpy(volume)[None], (16, 16, 16), 1, run, 0.25, "gaussian", 0.125
        )[0].numpy()
    found = np.asarray(nib.load(tmp_path / "fast" / str(row.mask)).dataobj)
    assert (found != decode_at(logits, stored.shape)).mean() < 1e-3


def test_fast_is_refused_for_a_network_of_whole_images(deep: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--fast for .* takes whole images"):
        predict(deep, [tmp_path], fast=True)


@pytest.mark.parametrize("axes", ["SPL", "RIA"])
def test_a_series_is_planned_from_its_headers(axes: str, windowed: Path, tmp_path: Path) -> None:
    values = np.zeros((9, 7, 5), dtype=np.int16)
    folder = write_series(tmp_path / "series", values, np.diag([1.0, 1.5, 2.0, 1.0]), axes=axes)
    assert volumes.stated_volume(folder) == ((9, 7, 5), (1.0, 1.5, 2.0), 4, 4)
    network = open_network(windowed, None, ExportSelection(), 1)
    assert network.volumes is not None
    assert network.volumes.begin(network.run, folder) is not None
    with pytest.raises(DataError, match=r"series: a volume of 9 x 7 x 5 voxels .* as --memory says"):
        predict(windowed, [folder], out=tmp_path / "out", memory_gib=0.01)
