"""Every command that reads an artifact of a run refuses one of another region, owner or run, by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from resealing import another_run, edit_json, reseal

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.evaluation.evaluation import evaluate
from lorkit.decompose.inspection.inspection import inspect_artifact
from lorkit.decompose.lifecycle.finetuning import finetune_expert
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.export.benchmarking.benchmark import bench
from lorkit.export.building.exporting import export
from lorkit.export.building.verification import verify
from lorkit.export.gating.gating import gate
from lorkit.export.prediction.prediction import predict
from lorkit.export.prediction.predictor import load_engine
from lorkit.export.reporting.reporting import report

BUILD = "onnx-cpu-generic-fp32"
Spoil = Callable[[Path, Path], None]


def _replace(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


def _rename(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    source.rename(target)


def _link(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    target.symlink_to(source.resolve())


def _with_its_expert(run: Path, other: Path) -> None:
    _replace(other / "exports/knee", run / "exports/knee")
    _replace(other / "experts/knee", run / "experts/knee")


def _without_its_expert(run: Path, other: Path) -> None:
    _replace(other / "exports/knee", run / "exports/knee")
    shutil.rmtree(run / "experts")


WRONG: dict[str, Spoil] = {
    "an export of another region": lambda run, _: _replace(run / "exports/chest", run / "exports/knee"),
    "a renamed export": lambda run, _: _rename(run / "exports/chest", run / "exports/knee"),
    "a link to an export": lambda run, _: _link(run / "exports/chest", run / "exports/knee"),
    "the foundation": lambda run, _: _replace(run / "exports/foundation/knee", run / "exports/knee"),
    "the student": lambda run, _: _replace(run / "exports/student/knee", run / "exports/knee"),
    "an export of another run": lambda run, other: _replace(other / "exports/knee", run / "exports/knee"),
    "an export of another run with its expert": _with_its_expert,
    "an export of another run without its expert": _without_its_expert,
}
WRONG_EXPERTS: dict[str, Spoil] = {
    "the region of an expert": lambda run, _: _replace(run / "experts/chest", run / "experts/knee"),
    "a link to another expert": lambda run, _: _link(run / "experts/chest", run / "experts/knee"),
    "the run of an expert": lambda run, other: _replace(other / "experts/knee", run / "experts/knee"),
}


def _image(run: Path) -> Path:
    path = run.parent / "image.png"
    Image.fromarray(np.full((24, 24), 120, np.uint8)).save(path)
    return path


READERS: dict[str, Callable[[Path], object]] = {
    "predict a region": lambda run: predict(
        run=run, region="knee", inputs=[_image(run)], precision="fp32", allow_out_of_region=True
    ),
    "predict a path": lambda run: predict(run / "exports/knee" / BUILD, [_image(run)], allow_out_of_region=True),
    "load an engine": lambda run: load_engine(run / "exports/knee" / BUILD),
    "verify a region": lambda run: verify(run=run, region="knee"),
    "verify a path": lambda run: verify(run / "exports/knee" / BUILD),
    "bench a region": lambda run: bench(run=run, region="knee", samples=2, max_seconds=0.1),
    "bench a path": lambda run: bench(run / "exports/knee" / BUILD, samples=2, max_seconds=0.1),
    "gate a region": lambda run: gate(run, region="knee", max_seconds=0.1),
    "gate a candidate": lambda run: gate(
        candidate=run / "exports/knee" / BUILD, baseline=run / "exports/foundation/knee" / BUILD, max_seconds=0.1
    ),
    "report": lambda run: report(run),
}
EXPERT_READERS: dict[str, Callable[[Path], object]] = {
    "predict a region": lambda run: predict(run=run, region="knee", inputs=[_image(run)], allow_out_of_region=True),
    "predict a path": lambda run: predict(run / "experts/knee", [_image(run)], allow_out_of_region=True),
    "load an expert": lambda run: load_expert(run / "experts/knee"),
    "evaluate": lambda run: evaluate(run, region="knee"),
    "evaluate a path": lambda run: evaluate(run / "experts/knee"),
    "export a region": lambda run: export(run, region="knee", profile="cpu-generic"),
    "export a path": lambda run: export(run / "experts/knee", profile="cpu-generic"),
    "fine-tune": lambda run: finetune_expert(open_run(run).config, run / "experts/knee"),
    "report": lambda run: report(run),
}


@pytest.fixture(scope="session")
def other_run(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return another_run(exported, tmp_path_factory.mktemp("other") / "runs/two")


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "runs/one"))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_exports_of_another_region_owner_or_run_are_refused(
    run: Path, other_run: Path, wrong: str, reader: str
) -> None:
    WRONG[wrong](run, other_run)
    with pytest.raises(ArtifactError, match="knee"):
        READERS[reader](run)


@pytest.mark.parametrize("reader", EXPERT_READERS)
@pytest.mark.parametrize("wrong", WRONG_EXPERTS)
def test_experts_of_another_region_or_run_are_refused(run: Path, other_run: Path, wrong: str, reader: str) -> None:
    shutil.rmtree(run / "exports/knee")
    WRONG_EXPERTS[wrong](run, other_run)
    with pytest.raises(ArtifactError, match="knee"):
        EXPERT_READERS[reader](run)


def test_what_lies_at_a_wrong_place_is_a_problem(run: Path) -> None:
    _rename(run / "exports/chest", run / "exports/knee")
    assert "region 'chest'" in str(inspect_artifact(run / "exports/knee" / BUILD).problem)


def test_copies_elsewhere_and_moved_runs_stay_valid(run: Path, other_run: Path, tmp_path: Path) -> None:
    copy, moved = tmp_path / "brain", tmp_path / "elsewhere/renamed"
    shutil.copytree(run / "exports/chest" / BUILD, copy)
    shutil.copytree(other_run / "exports/chest" / BUILD, run / "kept")
    moved.parent.mkdir()
    for path in (copy, run / "kept"):
        verify(path)
        assert predict(path, [_image(run)], allow_out_of_region=True).region == "chest"
    run.rename(moved)
    for name in ("verify a region", "predict a region", "predict a path", "bench a path", "gate a region"):
        READERS[name](moved)


@pytest.mark.parametrize("reader", ["predict", "verify", "bench", "gate", "export", "evaluate", "predict an expert"])
def test_a_path_of_another_region_than_asked_for_is_refused(run: Path, reader: str) -> None:
    path, expert = run / "exports/knee" / BUILD, run / "experts/knee"
    call: dict[str, Callable[[], object]] = {
        "predict": lambda: predict(path, [_image(run)], region="chest"),
        "predict an expert": lambda: predict(expert, [_image(run)], region="chest"),
        "verify": lambda: verify(path, region="chest"),
        "bench": lambda: bench(path, region="chest"),
        "gate": lambda: gate(candidate=path, baseline=run / "exports/foundation/knee" / BUILD, region="chest"),
        "export": lambda: export(expert, region="chest"),
        "evaluate": lambda: evaluate(expert, region="chest"),
    }
    with pytest.raises(ArtifactError, match="is of region 'knee'"):
        call[reader]()


def test_a_manifest_cannot_take_back_that_data_was_drawn(run: Path, make_export: Callable[..., Path]) -> None:
    """What its files say is believed."""
    edit_json(run / "experts/knee/expert.json", lambda info: info.update(synthetic=True))
    reseal(run / "experts/knee")
    with pytest.raises(ArtifactError, match=r"synthetic is 'False' in manifest.json and 'True' in expert.json"):
        load_expert(run / "experts/knee")
    edit_json(run / "regions.json", lambda regions: regions.update(synthetic=True))
    reseal(run)
    with pytest.raises(ArtifactError, match="synthetic is False"):
        _ = open_run(run).synthetic
    path = make_export("drawn")
    reseal(path, lambda manifest: manifest.update(synthetic=False))
    for read in (load_engine, verify, lambda one: gate(candidate=one, baseline=one, max_seconds=0.1)):
        with pytest.raises(ArtifactError, match=r"synthetic is 'False' in manifest.json and 'True' in export.json"):
            read(path)
