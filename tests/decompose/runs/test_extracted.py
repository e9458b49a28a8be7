"""The description of an extracted network is read without its weights, and has to name what manifest and place do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from resealing import edit_json, reseal

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.extracted import is_expert, is_mixture, read_expert, read_mixture
from lorkit.decompose.runs.mixture import load_mixture


def test_it_is_what_is_read_with_the_weights(by_id_run: Run) -> None:
    path = by_id_run.experts_dir / "region-id"
    found, loaded = read_mixture(path), load_mixture(path)
    assert (found.info, found.manifest) == (loaded.info, loaded.manifest)
    assert (found.region, found.recipe) == (loaded.region, loaded.recipe)
    assert (is_mixture(path), is_expert(path)) == (True, False)


def test_it_is_read_of_the_kind_that_was_asked_for(by_id_run: Run) -> None:
    with pytest.raises(ArtifactError, match="of kind 'mixture'"):
        read_expert(by_id_run.experts_dir / "region-id")


def test_another_form_than_its_manifest_names_is_refused(by_id_run: Run, tmp_path: Path) -> None:
    path = Path(shutil.copytree(by_id_run.experts_dir / "region-id", tmp_path / "copy"))
    reseal(path, lambda manifest: manifest["extra"].update(region="router"))
    with pytest.raises(ArtifactError, match=r"region is 'router' in manifest.json and 'region-id' in expert.json"):
        read_mixture(path)


def test_another_run_than_its_manifest_names_is_refused(by_id_run: Run, tmp_path: Path) -> None:
    path = Path(shutil.copytree(by_id_run.experts_dir / "region-id", tmp_path / "copy"))
    edit_json(path / "expert.json", lambda info: info["made_from"].update(run_manifest="0" * 64))
    reseal(path)
    with pytest.raises(ArtifactError, match=r"run is '[0-9a-f]{64}' in manifest.json and '0{64}' in expert.json"):
        read_mixture(path)
