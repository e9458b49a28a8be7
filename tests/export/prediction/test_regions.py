"""Several regions of one case: one read, one resample, one mask, and one load of each network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from dicom_volumes import write_stored
from hand_networks import hand_network, recipe_of, windowed_recipe

from lorkit.decompose.data.preprocessing.stages import STAGES
from lorkit.decompose.data.preprocessing.window_memory import CaseSize
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.regions import Region, RegionSet
from lorkit.export.prediction import preparation, regions, volumes
from lorkit.export.prediction.prediction import predict
from lorkit.export.prediction.volumes import VolumeRunner

SIZE = (6, 7, 5)
VALUES = np.random.default_rng(0).integers(0, 100, SIZE).astype(np.int16)
SMALL = np.float32(0.3)
NETWORKS = {
    "liver": hand_network("liver", ("organ", "tumour"), lambda v: np.where(v > 0.8, 2, v > 0.5), recipe_of(SIZE)),
    "spleen": hand_network("spleen", ("organ",), lambda v: (v > 0.7) | (v < SMALL), recipe_of(SIZE, mean=0.4)),
    "wide": hand_network("wide", ("all of it",), lambda v: v > 0.1, recipe_of(SIZE, high=200)),
}


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count networks that are opened, images that are read, and images that are resampled."""
    found: Counter[str] = Counter()
    known = [network.region for network in NETWORKS.values()]
    named = RegionSet([*known, Region(name="chest", classes=("no", "yes"))])
    monkeypatch.setattr(regions, "open_run", lambda run: SimpleNamespace(path=Path("run"), regions=named))

    def opened(path: Any, run: Any, selection: Any, threads: Any) -> Any:
        found[f"open {selection.region}"] += 1
        return NETWORKS[selection.region]

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any) -> Any:
            found[name] += 1
            return function(*args)

        return call

    monkeypatch.setattr(regions, "open_network", opened)
    monkeypatch.setattr(regions, "open_image", counted("read", regions.open_image))
    monkeypatch.setattr(preparation, "apply_recipe", counted("resample", preparation.apply_recipe))
    return found


def test_cases_are_read_and_resampled_once_and_networks_opened_once(tmp_path: Path, counts: Counter[str]) -> None:
    paths = [write_stored(tmp_path / f"{axes}.nii.gz", VALUES, np.eye(4), axes) for axes in ("RAS", "LIA", "PSR")]
    document = predict(None, paths, region="liver,spleen", out=tmp_path / "out")
    assert counts == {"open liver": 1, "open spleen": 1, "read": 3, "resample": 3}
    liver = np.where(VALUES > 80, 2, VALUES > 50)
    spleen = (VALUES > 70) | (VALUES < 30)
    wanted = np.where(liver > 0, liver, 3 * spleen)  # the region that is named first has the voxel
    for path in paths:
        found = nib.as_closest_canonical(nib.load(tmp_path / "out" / path.name))
        np.testing.assert_array_equal(np.asarray(found.dataobj), wanted)
    assert document.mask_values is not None
    assert [(one.value, one.structure, one.region) for one in document.mask_values] == [
        (1, "liver organ", "liver"), (2, "tumour", "liver"), (3, "spleen organ", "spleen"),
    ]  # fmt: skip
    row = document.to_json()["predictions"][0]
    assert row["contested"] == ((liver > 0) & spleen).sum()
    assert row["structures"]["spleen organ"]["voxels"] == (wanted == 3).sum()
    assert any("claimed by several regions" in text for text in document.warnings)


def test_the_order_of_regions_is_that_of_the_option(tmp_path: Path, counts: Counter[str]) -> None:
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    document = predict(None, [path], region="spleen,liver", structures=["tumour"], out=tmp_path / "out")
    found = np.asarray(nib.load(tmp_path / "out" / path.name).dataobj)
    np.testing.assert_array_equal(found, 0 * VALUES)  # the spleen has what is above 70
    assert document.classes == ["tumour"]


def test_all_regions_with_masks_and_other_preprocessing(tmp_path: Path, counts: Counter[str]) -> None:
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    document = predict(None, [path], region="all")
    assert document.region == "liver,spleen,wide"
    assert (counts["read"], counts["resample"]) == (1, 2)
    assert any("'chest' gives labels" in text for text in document.warnings)


def test_what_cannot_be_merged_is_refused(counts: Counter[str], tmp_path: Path) -> None:
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    for region, message in (
        ("liver,chest", "region 'chest' beside others, which gives labels"),
        ("liver,liver", "region 'liver' twice"),
        ("liver,splen", "did you mean 'spleen'"),
    ):
        with pytest.raises(UsageError, match=message):
            predict(None, [path], region=region)
    with pytest.raises(UsageError, match="--sheet with several regions"):
        predict(None, [path], region="all", sheet=tmp_path / "a.png")


def test_structures_that_overlap_keep_all_their_voxels(tmp_path: Path, counts: Counter[str], monkeypatch: Any) -> None:
    organ = NETWORKS["liver"]

    def run(batch: Any) -> Any:
        return np.where(np.stack([batch[:, 0] > 0.5, batch[:, 0] > SMALL], axis=1), 9.0, -9.0).astype(np.float32)

    task = Region(name="liver", task="structures", classes=("vessel", "organ"))
    monkeypatch.setitem(NETWORKS, "liver", replace(organ, region=task, run=run))
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    document = predict(None, [path], region="liver,spleen", out=tmp_path / "out")
    wanted = {"vessel": VALUES > 50, "liver_organ": VALUES > 30, "spleen_organ": (VALUES > 70) | (VALUES < 30)}
    for value, (name, where) in enumerate(wanted.items(), start=1):
        found = np.asarray(nib.load(tmp_path / "out" / f"a_{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(found, value * where)
    (row,) = document.to_json()["predictions"]
    assert (row["contested"], row["mask"], len(row["masks"])) == (0, None, 3)


@pytest.fixture
def at_a_spacing(counts: Counter[str], monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Two regions at 2 mm, window by window: structures of the liver may overlap, those of the spleen do not."""
    recipe = windowed_recipe((4, 4, 4), 2.0)

    def run(batch: Any) -> Any:
        return 40 * np.stack([batch[:, 0] - np.float32(0.5), batch[:, 0] - SMALL], axis=1)

    spleen = hand_network("spleen", ("organ", "rim"), lambda v: np.where(v > 0.5, 1, 2 * (v > 0.4)), recipe)
    task = Region(name="liver", task="structures", classes=("vessel", "organ"))
    liver = replace(spleen, region=task, run=run, volumes=VolumeRunner(recipe, exclusive=False))
    monkeypatch.setitem(NETWORKS, "liver", liver)
    monkeypatch.setitem(NETWORKS, "spleen", replace(spleen, volumes=VolumeRunner(recipe, exclusive=True)))
    return counts


def test_regions_at_a_spacing_are_merged_as_each_is_drawn_alone(tmp_path: Path, at_a_spacing: Counter[str]) -> None:
    path = write_stored(tmp_path / "a.nii.gz", np.kron(VALUES, np.ones((2, 2, 2), np.int16)), np.eye(4), "LIA")
    predict(None, [path], region="liver,spleen", out=tmp_path / "both")
    assert (at_a_spacing["read"], at_a_spacing["resample"]) == (1, 1)
    alone = {"liver": ("vessel", "liver_organ", 1), "spleen": ("spleen_organ", "rim", 3)}
    for region, (*names, first) in alone.items():
        for index, name in enumerate(names):
            both = np.asarray(nib.load(tmp_path / "both" / f"a_{name}.nii.gz").dataobj)
            assert set(np.unique(both)) == {0, first + index}
            own = NETWORKS[region]
            row = preparation.prepare_image(own, path)
            mask = regions.mask_of(own, row)
            there = mask >> index & 1 == 1 if region == "liver" else mask == index + 1
            found = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(both, nib.load(path).affine)).dataobj)
            np.testing.assert_array_equal(found > 0, there)


def test_structures_of_a_region_that_an_image_does_not_look_like_have_no_size(
    tmp_path: Path, at_a_spacing: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = SimpleNamespace(**{**vars(NETWORKS["spleen"].info), "in_region": "a check"})
    monkeypatch.setitem(NETWORKS, "spleen", replace(NETWORKS["spleen"], info=info))
    monkeypatch.setattr(preparation.region_check, "check_all", lambda model, images: [(9.0, 1.0, False)] * len(images))
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    document = predict(None, [path], region="liver,spleen", statistics=True, out=tmp_path / "out")
    (row,) = document.to_json()["predictions"]
    assert row["regions"]["spleen"]["refused"]
    assert set(row["structures"]) == set(row["statistics"]["structures"]) == {"vessel", "liver organ"}
    cells = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert cells[1].split(",")[-4:] == ["", "", "", ""]
    assert "rim" not in (tmp_path / "out" / "statistics.csv").read_text()


def test_regions_at_a_spacing_state_their_stages_and_the_memory_of_all_together(
    tmp_path: Path, at_a_spacing: Counter[str]
) -> None:
    path = write_stored(tmp_path / "a.nii.gz", np.kron(VALUES, np.ones((2, 2, 2), np.int16)), np.eye(4), "LIA")
    (row,) = predict(None, [path], region="liver,spleen", out=tmp_path / "both").to_json()["predictions"]
    alone = [preparation.prepare_image(NETWORKS[region], path).case for region in ("liver", "spleen")]
    costs = row["case_costs"]
    assert costs["windows"] == sum(case.windows for case in alone if case is not None)
    assert set(costs["stage_seconds"]) == set(STAGES)
    assert all(seconds > 0 for seconds in costs["stage_seconds"].values())
    assert min(costs["predicted_peak_mib"], costs["peak_mib"]) > 0


def test_regions_that_do_not_fit_together_are_refused_before_a_voxel_is_read(
    tmp_path: Path, at_a_spacing: Counter[str]
) -> None:
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    with pytest.raises(DataError, match=r"a.nii.gz: a volume of .* needs \d.* at most 0.01 GiB"):
        predict(None, [path], region="liver,spleen", out=tmp_path / "both", memory_gib=0.01)
    assert at_a_spacing["read"] == 0
    assert not (tmp_path / "both").exists()


def test_the_plan_of_several_regions_has_what_the_others_keep(
    tmp_path: Path, at_a_spacing: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: the volume as read, a merged mask of 64 bits, and the other region's volume at its own spacing."""
    seen: list[CaseSize] = []
    plan = volumes.plan_windows
    monkeypatch.setattr(volumes, "plan_windows", lambda *a, **k: [seen.append(a[2]), plan(*a, **k)][1])
    finer = windowed_recipe((4, 4, 4), 0.5)
    monkeypatch.setitem(
        NETWORKS, "spleen", replace(NETWORKS["spleen"], recipe=finer, volumes=VolumeRunner(finer, exclusive=True))
    )
    path = write_stored(tmp_path / "a.nii.gz", VALUES, np.eye(4), "RAS")
    predict(None, [path], region="liver,spleen", out=tmp_path / "both")
    voxels, coarse, fine = 6 * 7 * 5, 3 * 4 * 2, 12 * 14 * 10
    assert [case.kept for case in seen] == [2 * voxels] * 2
    assert [case.beside for case in seen] == [8 * voxels + 4 * fine, 8 * voxels + 4 * coarse]
