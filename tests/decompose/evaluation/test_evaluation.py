from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resealing import reseal
from torch import nn

from lorkit.decompose.documents.evaluate import EvaluateDocument, SegmentationEvaluation
from lorkit.decompose.errors import ArtifactError, BusyError, UsageError
from lorkit.decompose.evaluation import evaluation
from lorkit.decompose.evaluation.evaluation import _mean, evaluate
from lorkit.decompose.evaluation.inference import collect_score_inputs, predict_logits
from lorkit.decompose.events import Event, Working
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.metrics import HEADLINE, scores
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.runs.networks import RunNetworks

pytestmark = pytest.mark.usefixtures("without_program")


def test_logits_of_modules_and_callables_agree_and_modes_are_kept(small_run: Run) -> None:
    prepared = RunSplits(small_run, "knee").part("knee", "val")
    network = RunNetworks(small_run).expert("knee").train()
    found = predict_logits(network, prepared, batch_size=7)
    assert network.training
    assert found.dtype == np.float32

    def run(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network.eval()(torch.from_numpy(batch)).numpy()

    np.testing.assert_allclose(predict_logits(run, prepared, batch_size=100), found, atol=1e-5)
    assert predict_logits(nn.Identity(), prepared.take([])).shape == (0, 3)


@pytest.mark.parametrize("model", ["experts", "student", "foundation"])
def test_every_model_is_measured_on_every_region_and_stored(small_run: Run, model: str) -> None:
    document = evaluate(small_run.path, model=model).to_json()
    assert list(document["regions"]) == ["chest", "knee"]
    block = document["regions"]["knee"]
    assert {"n", "ci", "confusion", "reliability", "per_class", *HEADLINE} <= set(block)
    assert block["source"] == {"experts": "live", "student": "live", "foundation": "probe"}[model]
    assert any("probe" in text for text in document["warnings"]) == (model == "foundation")
    values = [document["regions"][name]["accuracy"] for name in ("chest", "knee")]
    assert document["means"]["accuracy"] == pytest.approx(np.mean(values))
    assert EvaluateDocument.read(small_run.measurements_dir / f"evaluate-{model}-test.json").to_json() == document


def test_an_evaluation_that_cannot_be_stored_is_returned_and_said(small_run: Run) -> None:
    small_run.measurements_dir.write_text("a file in its place")
    document = evaluate(small_run.path, region="chest").to_json()
    assert document["regions"]["chest"]["n"] > 0
    assert document["warnings"][-1] == "The evaluation was not kept in the run: File exists (measurements)."


@pytest.mark.parametrize("where", ["run", "expert", "expert alone"])
@pytest.mark.parametrize("changed", ["manifest.json", "a file"])
def test_what_is_replaced_or_changed_while_it_is_measured_is_refused(
    small_run: Run, monkeypatch: pytest.MonkeyPatch, where: str, changed: str
) -> None:
    """Its digest would be beside numbers of something else."""
    if where != "run":
        extract(small_run.path, region="knee")
    named = small_run.experts_dir / "knee" if where == "expert alone" else small_run.path
    victim = small_run.path if where == "run" else small_run.experts_dir / "knee"
    path = victim / changed if changed == "manifest.json" else sorted(victim.glob("*.safetensors"))[0]

    def meanwhile(*arguments: Any) -> Any:
        path.write_bytes(path.read_bytes() + b" ")
        return collect_score_inputs(*arguments)

    monkeypatch.setattr(evaluation, "collect_score_inputs", meanwhile)
    with pytest.raises(BusyError if changed == "manifest.json" else ArtifactError, match=r"while it was|has changed"):
        evaluate(named, region="knee")
    assert not small_run.measurements_dir.exists()


def test_distances_in_pixels_and_in_mm_have_no_mean() -> None:
    blocks = [
        SegmentationEvaluation.model_construct(unit=unit, hd95=value, dice=0.5, ci={"hd95": None, "dice": None})
        for unit, value in (("mm", 2.0), ("mm", 4.0), ("pixels", 6.0))
    ]
    assert _mean("hd95", blocks[:2]) == (3.0, None)
    assert _mean("hd95", blocks) == (None, None)
    assert _mean("dice", blocks) == (0.5, None)


def test_scores_are_those_of_the_live_model(small_run: Run) -> None:
    prepared = RunSplits(small_run, "chest").part("chest", "val")
    with torch.no_grad():
        logits = RunNetworks(small_run).live(torch.from_numpy(np.array(prepared.images)), "chest").logits["chest"]
    expected = scores(prepared.labels, logits.numpy(), prepared.groups)
    block = evaluate(small_run.path, split="val", region="chest").to_json()["regions"]["chest"]
    assert block["confusion"] == expected["confusion"]
    assert block["auroc"] == pytest.approx(expected["auroc"])


def test_a_selection_does_not_replace_the_measurement_of_all(small_run: Run) -> None:
    evaluate(small_run.path, region="knee")
    assert [path.name for path in small_run.measurements_dir.iterdir()] == ["evaluate-experts-test-knee.json"]


def test_extracted_experts_are_preferred_and_foreign_ones_refused(small_run: Run) -> None:
    path = extract(small_run, region="chest")[0].path
    found = evaluate(small_run.path).to_json()["regions"]
    assert (found["chest"]["source"], found["knee"]["source"]) == ("extracted", "live")
    reseal(small_run.path, lambda manifest: manifest.update(inputs="another"))
    with pytest.raises(ArtifactError, match=f"is not the run that .*{path.name} was made from"):
        evaluate(small_run.path)


def test_a_lone_expert_finds_its_run_or_asks_for_data(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = extract(small_run, region="knee")[0].path
    at_home = evaluate(expert, split="val").to_json()["regions"]["knee"]
    alone = Path(shutil.copytree(expert, tmp_path / "hospital" / "knee"))
    monkeypatch.chdir(tmp_path)
    assert evaluate(alone, split="val").to_json()["regions"]["knee"]["confusion"] == at_home["confusion"]
    shutil.move(small_run.path, tmp_path / "gone")
    with pytest.raises(UsageError, match="--data"):
        evaluate(alone)
    site = tmp_path / "site.npz"
    rng = np.random.default_rng(0)
    np.savez(
        site,
        images=rng.integers(0, 255, (6, 16, 16), dtype=np.uint8),
        labels=[0, 0, 1, 1, 1, 1],
        label_names=np.array(["severe", "none"]),
    )
    document = evaluate(alone, data=site).to_json()
    assert document["split"] == "data"
    assert [row["n"] for row in document["regions"]["knee"]["per_class"]] == [4, 0, 2]
    assert document["means"]["balanced_accuracy"] is None
    assert "no case of mild" in document["warnings"][0]
    assert document["data"]["name"] == "site.npz"


def test_wrong_options_are_one_clear_line(small_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'experts'"):
        evaluate(small_run.path, model="expert")
    with pytest.raises(UsageError, match="unknown split"):
        evaluate(small_run.path, split="tset")
    with pytest.raises(UsageError, match="--data for 2 regions"):
        evaluate(small_run.path, data=tmp_path / "x.npz")
    expert = extract(small_run, region="knee")[0].path
    with pytest.raises(ArtifactError, match="knee is of region 'knee'"):
        evaluate(expert, region="chest")
    with pytest.raises(UsageError, match="--model student with an expert"):
        evaluate(expert, model="student")


def test_progress_names_each_region(small_run: Run) -> None:
    heard: list[Event] = []
    evaluate(small_run.path, on_event=heard.append)
    texts = ("experts on chest", "experts on knee", "done")
    assert heard == [Working(text, done, 2) for done, text in enumerate(texts)]


@pytest.mark.parametrize("model", ["experts", "foundation"])
def test_flips_average_the_logits_and_are_recorded_apart(small_run: Run, model: str) -> None:
    splits = RunSplits(small_run, "knee")
    prepared = splits.part("knee", "test")
    plain = evaluate(small_run.path, model=model, region="knee").to_json()
    networks = RunNetworks(small_run)
    network = networks.expert("knee") if model == "experts" else networks.foundation("knee")
    with torch.no_grad():
        image = torch.from_numpy(np.array(prepared.images))
        logits = (network.eval()(image) + network(image.flip(3))) / 2
    expected = scores(prepared.labels, logits.numpy(), prepared.groups)
    document = evaluate(small_run.path, model=model, region="knee", flips=True).to_json()
    assert document["regions"]["knee"]["confusion"] == expected["confusion"]
    assert document["regions"]["knee"]["ece"] == pytest.approx(expected["ece"])
    assert (document["flips"], plain["flips"]) == (True, False)
    names = {path.name for path in small_run.measurements_dir.iterdir()}
    assert {f"evaluate-{model}-test-knee.json", f"evaluate-{model}-test-flips-knee.json"} <= names


def test_flips_are_refused_where_sides_matter(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "sided", **{"regions.knee.augment": "{flip: false}"})
    with pytest.raises(UsageError, match=r"--flips for region 'knee', where left and right differ"):
        evaluate(run.path, flips=True)
    assert evaluate(run.path, flips=True, region="chest").flips
    extract(run, region="all")
    assert evaluate(run.path / "experts" / "chest", flips=True).flips
    with pytest.raises(UsageError, match=r"--flips for region 'knee'"):
        evaluate(run.path / "experts" / "knee", flips=True)
