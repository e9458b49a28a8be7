from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lorkit.decompose.artifacts import read_json, write_json, write_manifest
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import ImageConfig, RegionConfig
from lorkit.decompose.data.keyed_digests import keyed_digests
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.errors import DataError
from lorkit.decompose.runs import OUTSIDE, Run, export_directory, open_run
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.gating.gating import gate
from lorkit.export.noninferiority.cases import EvaluationCases, cases_of_file, cases_of_split
from lorkit.export.runtime.exported import ExportPair, read_exported

SMALL = ImageConfig.model_validate({"size": 8, "channels": 1})


@pytest.fixture
def pair(a_run: Run) -> ExportPair:
    paths = [
        export_directory(a_run, owner, "chest", "onnx", "cpu-generic", "fp32") for owner in ("foundation", "expert")
    ]
    return ExportPair(read_exported(paths[0]), read_exported(paths[1]))


def test_the_digest_of_a_locked_split_is_the_one_that_the_run_has_written_down(a_run: Run, pair: ExportPair) -> None:
    baseline, candidate, about = cases_of_split(RunSplits(a_run), "chest").prepare(pair)
    written = read_json(a_run.path / "splits.json", kind="splits")["labels"]["chest"]["test"]
    assert about.digest == written
    assert about.n == len(baseline) == len(candidate)
    assert (about.excluded, about.unknown) == ({"same_patients": 0}, [])


def test_what_either_side_learnt_from_is_left_out_with_its_patients(
    a_run: Run, pair: ExportPair, tmp_path: Path
) -> None:
    (path,) = a_run.config.regions["chest"].data or ()
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    test = np.flatnonzero(arrays["split"] == "test")
    arrays["groups"] = arrays["groups"].astype("U32")
    arrays["groups"][test[:5]] = arrays["groups"][np.flatnonzero(arrays["split"] == "train")[0]]
    np.savez(tmp_path / "all.npz", **arrays)
    trained = RunFinder().lineage(a_run).training_cases
    seen = {"baseline": None, "candidate": trained}
    _, kept, about = replace(cases_of_file(tmp_path / "all.npz", pair), seen=seen).prepare(pair)
    assert len(kept) == len(test) - 5
    assert about.excluded == {"baseline": 0, "candidate": len(arrays["labels"]) - len(test), "same_patients": 5}
    assert about.unknown == ["baseline"]
    everything = frozenset(one for one in RunSplits(a_run).samples("chest").digests)
    with pytest.raises(DataError, match="was trained on the patients of all"):
        replace(cases_of_file(tmp_path / "all.npz", pair), seen={"candidate": everything}).prepare(pair)


def test_each_side_sees_the_remaining_cases_as_its_own_recipe_prepares_them(
    a_run: Run, pair: ExportPair, tmp_path: Path
) -> None:
    (path,) = a_run.config.regions["chest"].data or ()
    small = pair.candidate.recipe.model_copy(update={"steps": build_recipe(SMALL, RegionConfig(data=("x",))).steps})
    seen = {"candidate": RunFinder().lineage(a_run).training_cases}
    other: Any = SimpleNamespace(
        baseline=pair.baseline, candidate=SimpleNamespace(recipe=small, region=pair.candidate.region)
    )
    for left_out in ({}, seen):
        cases = replace(cases_of_file(Path(path), pair), seen=left_out)
        baseline, candidate, about = cases.prepare(other)
        assert (baseline.images.shape[2:], candidate.images.shape[2:]) == ((16, 16), (8, 8))
        assert baseline.digests == candidate.digests
        assert about.n == len(baseline) < 800 + (not left_out)
        same, again, _ = cases.prepare(pair)
        assert same is again


def test_two_versions_are_judged_on_what_neither_has_seen(a_run: Run, workshop: Any, tmp_path: Path) -> None:
    (path,) = a_run.config.regions["chest"].data or ()
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
        sex = np.where(np.arange(len(stored["labels"])) % 3 == 0, "f", "m")
    np.savez(tmp_path / "all.npz", **arrays, sex=sex)
    old = export_directory(a_run, "expert", "chest", "onnx", "cpu-generic", "fp32")
    new = workshop.write_export(tmp_path / "new", owner="expert", region="chest", parent=a_run.path, threshold=0.6)
    document = gate(
        baseline=old, candidate=new, data=tmp_path / "all.npz", subgroup=["sex"], max_seconds=0.5, strict_subgroups=True
    ).to_json()  # fmt: skip
    accuracy = document["regions"]["chest"]["accuracy_test"]
    assert accuracy["case_set"]["n"] == int((arrays["split"] == "test").sum())
    assert accuracy["case_set"]["unknown"] == []
    assert [(row["column"], row["name"]) for row in accuracy["by_subgroup"]] == [("sex", "f"), ("sex", "m")]
    assert sum(row["n"] for row in accuracy["by_subgroup"]) == accuracy["n"]
    assert len(accuracy["changed_answers"]) == accuracy["label_flips"] == sum(accuracy["changes"].values()) > 0
    assert accuracy["needed_n"] > 0
    assert not any("thumbnail" in row for row in accuracy["changed_answers"])  # the file is nobody's phantom
    shutil.rmtree(new)


def test_a_fine_tuned_run_has_learnt_what_its_origin_has(a_run: Run, tmp_path: Path) -> None:
    child = tmp_path / "runs" / "tuned"
    shutil.copytree(a_run.path, child)
    splits = read_json(child / "splits.json", kind="splits")
    samples = RunSplits(a_run).samples("chest")
    first = samples.digests[int(RunSplits(a_run).parts("chest")["train"][0])]
    splits["regions"]["chest"]["train"].remove(*keyed_digests([first], DirectoryKey(a_run.path.parent)))
    write_json(child / "splits.json", splits)
    origin = {"kind": "run", "sha256": a_run.manifest.digest, "change": "finetune"}
    write_manifest(child, "run", synthetic=True, outside=OUTSIDE, extra={"origin": origin})
    found = RunFinder().lineage(open_run(child))
    assert ([run.id for run in found.runs], found.complete) == (["tuned", a_run.id], True)
    assert first in found.training_cases
    shutil.move(a_run.path, tmp_path / "elsewhere")
    found = RunFinder().lineage(open_run(child))
    assert found.complete is False
    assert first not in found.training_cases


def test_an_image_that_is_there_often_counts_once(a_run: Run, workshop: Any, tmp_path: Path) -> None:
    (path,) = a_run.config.regions["chest"].data or ()
    with np.load(path) as stored:
        four = np.flatnonzero(stored["split"] == "test")[:4].repeat(100)
        arrays = {name: stored[name][four] for name in ("images", "labels")}
        np.savez(tmp_path / "often.npz", **arrays, label_names=stored["label_names"])
    paths = [
        export_directory(a_run, owner, "chest", "onnx", "cpu-generic", "fp32") for owner in ("foundation", "expert")
    ]
    shutil.rmtree(paths[1])
    workshop.write_export(paths[1], owner="expert", region="chest", parent=a_run.path, threshold=0.50001)
    found = gate(
        baseline=paths[0], candidate=paths[1], data=tmp_path / "often.npz", max_seconds=0.5, margin=1.0
    ).to_json()
    accuracy = found["regions"]["chest"]["accuracy_test"]
    assert (accuracy["n"], accuracy["groups"], accuracy["verdict"]) == (400, 4, "inconclusive")


def test_cases_of_one_class_pass_nobody(a_run: Run, workshop: Any, tmp_path: Path) -> None:
    (path,) = a_run.config.regions["chest"].data or ()
    with np.load(path) as stored:
        bright = np.flatnonzero((stored["split"] == "test") & (stored["labels"] == 1))
        arrays = {name: stored[name][bright] for name in ("images", "labels", "groups")}
        np.savez(tmp_path / "bright.npz", **arrays, label_names=stored["label_names"])
    old = export_directory(a_run, "foundation", "chest", "onnx", "cpu-generic", "fp32")
    always = workshop.write_export(tmp_path / "new", owner="expert", region="chest", parent=a_run.path, threshold=0.0)
    found = gate(baseline=old, candidate=always, data=tmp_path / "bright.npz", max_seconds=0.5, margin=1.0).to_json()
    accuracy = found["regions"]["chest"]["accuracy_test"]
    assert (accuracy["absent"], accuracy["verdict"]) == (["dark"], "inconclusive")
    assert accuracy["ci"][1] < accuracy["allowed"]


def test_no_cases_are_an_error(pair: ExportPair) -> None:
    empty = EvaluationCases(read=lambda recipe: [], source="nowhere")  # type: ignore[arg-type,return-value]
    with pytest.raises(DataError, match="no case in nowhere"):
        empty.prepare(pair)
