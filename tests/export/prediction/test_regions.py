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
from hand_networks import hand_network, recipe_of

from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region, RegionSet
from lorkit.export.prediction import network as network_module
from lorkit.export.prediction import regions
from lorkit.export.prediction.prediction import predict

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
    monkeypatch.setattr(network_module, "apply_recipe", counted("resample", network_module.apply_recipe))
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
