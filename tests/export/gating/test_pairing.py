import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.decompose.artifacts import write_manifest
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.runs import OUTSIDE, ExportSelection, Run, export_directory, open_run
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.export.gating.pairing import GateExports, pair_exports
from lorkit.export.runtime.exported import read_exported


def export_of(run: Run, owner: str, region: str = "chest") -> Path:
    return export_directory(run, owner, region, "onnx", "cpu-generic", "fp32")


def test_experts_stand_against_the_foundation(a_run: Run) -> None:
    found = pair_exports(GateExports(a_run, ExportSelection()))
    assert [(pair.region, pair.baseline.owner, pair.candidate.owner) for pair in found] == [
        ("chest", "foundation", "expert"),
        ("knee", "foundation", "expert"),
    ]
    assert [pair.region for pair in pair_exports(GateExports(a_run, ExportSelection(region="knee")))] == ["knee"]


def test_named_exports_need_no_run(a_run: Run, tmp_path: Path) -> None:
    for owner in ("foundation", "student"):
        shutil.copytree(export_of(a_run, owner), tmp_path / "elsewhere" / owner)
    root = tmp_path / "elsewhere"
    (pair,) = pair_exports(
        GateExports(None, ExportSelection(), baseline=root / "foundation", candidate=root / "student")
    )
    assert (pair.baseline.owner, pair.candidate.owner) == ("foundation", "student")


def test_a_named_baseline_picks_the_expert_of_its_region(a_run: Run) -> None:
    (pair,) = pair_exports(GateExports(a_run, ExportSelection(), baseline=export_of(a_run, "student", "knee")))
    assert (pair.region, pair.candidate.owner) == ("knee", "expert")


def test_exports_of_different_regions_are_refused(a_run: Run) -> None:
    with pytest.raises(UsageError, match="one region"):
        pair_exports(
            GateExports(
                None,
                ExportSelection(),
                baseline=export_of(a_run, "expert"),
                candidate=export_of(a_run, "expert", "knee"),
            )
        )


def test_a_missing_side_is_named(a_run: Run) -> None:
    with pytest.raises(UsageError, match="no expert export"):
        pair_exports(GateExports(a_run, ExportSelection(target="trt")))
    shutil.rmtree(a_run.exports_dir / "foundation")
    with pytest.raises(UsageError, match="no matching baseline"):
        pair_exports(GateExports(a_run, ExportSelection()))


def test_a_copied_export_finds_its_run_by_digest(a_run: Run, tmp_path: Path, make_export: Callable[..., Path]) -> None:
    shutil.copytree(export_of(a_run, "expert"), tmp_path / "elsewhere")
    finder = RunFinder()
    found = finder.of_export(read_exported(tmp_path / "elsewhere").manifest)
    assert found is not None
    assert found.id == a_run.id
    assert finder.of_export(read_exported(export_of(a_run, "expert")).manifest) is not None
    assert finder.of_export(read_exported(make_export("lone")).manifest) is None


def test_exports_of_a_replaced_source_are_not_judged(a_run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept" / "a" / "b" / "c"
    shutil.copytree(export_of(a_run, "expert"), kept)
    write_manifest(a_run.path, "run", synthetic=True, outside=OUTSIDE)
    with pytest.raises(ArtifactError, match="is not the run that"):
        pair_exports(GateExports(open_run(a_run.path), ExportSelection()))
    # what a user names may be kept from an earlier state on purpose
    assert pair_exports(GateExports(None, ExportSelection(), baseline=kept, candidate=export_of(a_run, "expert")))


def test_a_candidate_with_a_proven_baseline_comes_before_a_preferred_one(a_run: Run, workshop: Any) -> None:
    """Of two proven experts fp32 is preferred, but the parity of its baseline was not checked."""
    unproven = export_of(a_run, "foundation")
    for owner in ("foundation", "expert"):
        lowered = export_directory(a_run, owner, "chest", "onnx", "cpu-generic", "int8")
        workshop.write_export(lowered, owner=owner, region="chest", parent=a_run.path, precision="int8")
    shutil.rmtree(unproven)
    workshop.write_export(unproven, owner="foundation", region="chest", parent=a_run.path, parity={"status": "not_run"})
    (pair,) = pair_exports(GateExports(a_run, ExportSelection(region="chest")))
    assert (pair.candidate.key[-1], pair.baseline.key[-1]) == ("int8", "int8")
    assert pair.not_judged == ("onnx cpu-generic fp32",)
