from pathlib import Path

import pytest

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs.selection import ExportSelection, require_region, selects


def test_regions_are_named_by_commas_and_all() -> None:
    assert all(selects(text, "chest") for text in (None, "", "all", "chest", "brain, chest"))
    assert not any(selects(text, "chest") for text in ("brain", "chest-left", "brain,knee"))


def test_a_selection_matches_what_it_leaves_open_and_says_what_it_asks_for() -> None:
    wanted = ExportSelection(region="chest", precision="fp32")
    assert wanted.matches("chest", "onnx", "cpu-generic", "fp32")
    assert not wanted.matches("chest", "onnx", "cpu-generic", "int8")
    assert wanted.describe() == "region 'chest', fp32"
    assert ExportSelection(region="all").any_build


def test_an_expert_of_another_region_than_asked_for_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    write_manifest(tmp_path, "expert", synthetic=False, extra={"region": "chest"})
    assert require_region(tmp_path, "knee,chest") == tmp_path
    with pytest.raises(ArtifactError, match="is of region 'chest'; required: a network of region 'knee'"):
        require_region(tmp_path, "knee")
