from pathlib import Path

import pytest

from lorkit.decompose.artifacts import write_json, write_manifest, write_text
from lorkit.decompose.config import default_config, to_yaml
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import (
    OUTSIDE,
    ExportSelection,
    Run,
    experts_of,
    export_directory,
    exports_of,
    list_runs,
    open_run,
)

REGIONS = RegionSet(Region(name=name, classes=("a", "b")) for name in ("chest", "brain"))


def make_run(path: Path) -> Run:
    path.mkdir(parents=True)
    config = default_config()
    regions = {name: config.regions[name] for name in REGIONS.names}
    write_text(path / "config.yaml", to_yaml(config.model_copy(update={"regions": regions})))
    write_json(path / "regions.json", {"regions": REGIONS.to_json()})
    return Run(path, write_manifest(path, "run", synthetic=True, outside=OUTSIDE))


def make_child(path: Path, kind: str, **extra: str) -> None:
    path.mkdir(parents=True)
    write_text(path / "x", "x")
    write_manifest(path, kind, synthetic=True, extra=extra)


def test_newest_run_is_the_default(tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b")
    assert [path.name for path in list_runs(tmp_path)] == ["b", "a"]
    assert open_run(None, tmp_path).id == "b"
    assert open_run("a", tmp_path).id == "a"
    assert open_run(tmp_path / "a").regions.names == ("chest", "brain")


def test_other_artifacts_and_hidden_directories_are_no_runs(tmp_path: Path) -> None:
    make_child(tmp_path / "f", "foundation")
    make_run(tmp_path / ".a.partial-another-1")
    with pytest.raises(UsageError, match="decompose train"):
        open_run(None, tmp_path)


def test_unknown_run_lists_the_known(tmp_path: Path) -> None:
    make_run(tmp_path / "phantom-1")
    with pytest.raises(UsageError, match="phantom-1"):
        open_run("phantom-2", tmp_path)


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / ".a.training" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UsageError, match="--resume"):
        open_run("a", tmp_path)


def test_a_tampered_run_is_refused_but_its_experts_do_not_count(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    make_child(run.experts_dir / "chest", "expert")
    open_run(run.path)
    (run.path / "config.yaml").write_text("name: evil")
    with pytest.raises(ArtifactError, match=r"config\.yaml"):
        open_run(run.path)


def test_experts_by_selection(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    with pytest.raises(UsageError, match="decompose extract --region all"):
        experts_of(run)
    make_child(run.experts_dir / "chest", "expert")
    assert list(experts_of(run)) == ["chest"]
    with pytest.raises(UsageError, match="decompose extract --region brain"):
        experts_of(run, "brain")
    with pytest.raises(UsageError, match="unknown region 'liver'"):
        experts_of(run, "liver")


def test_exports_by_owner_region_and_target(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    for owner in ("expert", "foundation"):
        path = export_directory(run, owner, "chest", "trt-rtx", "rtx-ada", "fp32")
        make_child(path, "export", target="trt-rtx", profile="rtx-ada", precision="fp32")
    found = exports_of(run)
    assert [(entry.owner, entry.region, entry.target) for entry in found] == [
        ("expert", "chest", "trt-rtx"),
        ("foundation", "chest", "trt-rtx"),
    ]
    assert exports_of(run, ExportSelection(target="onnx")) == []
    assert len(exports_of(run, ExportSelection(profile="rtx-ada"), owners=("expert",))) == 1


@pytest.mark.parametrize("text", ["{", "{}", '{"kind": "run"}'])
def test_a_foreign_directory_among_the_runs_is_passed_over(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path / "a")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "manifest.json").write_text(text)
    assert list_runs(tmp_path) == [run.path]
    with pytest.raises(UsageError, match="unknown run 'nope'"):
        open_run("nope", tmp_path)
    with pytest.raises(ArtifactError):
        open_run("junk", tmp_path)


def test_metrics_are_read_line_by_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    path = run.path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    assert run.metrics == []
    path.write_text('{"epoch": 0}\n\n{"epoch": 1}\n')
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}]
    path.write_text("{")
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl is not JSON lines"):
        _ = run.metrics


def test_a_selection_takes_regions_by_name_and_builds_that_it_states() -> None:
    selection = ExportSelection(region="chest, knee", precision="fp16")
    assert selection.matches("knee", "onnx", "cpu", "fp16")
    assert not selection.matches("brain", "onnx", "cpu", "fp16")
    assert not selection.matches("knee", "onnx", "cpu", "fp32")
    assert not selection.any_build
    assert ExportSelection(region="knee").any_build
    assert ExportSelection(region="all").matches("brain", "trt", "gpu", "int8")
