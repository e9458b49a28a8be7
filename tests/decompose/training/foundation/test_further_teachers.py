"""Teachers beside the foundation, in whole trainings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lorkit.cli.output.tables import plan
from lorkit.decompose import compare, train
from lorkit.decompose.artifacts import load_tensors, read_json
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.errors import LorkitError
from lorkit.decompose.events import Notice, Saved
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle.adding import add_region
from lorkit.decompose.lifecycle.removing import remove_region
from lorkit.decompose.models.backbones.registry import build_backbone
from lorkit.decompose.models.foundation.model import load_foundation
from lorkit.decompose.runs import open_run
from lorkit.decompose.runs.live_model import WEIGHTS
from lorkit.decompose.training.training import pretrain

WIDE = "tiny_resnet_wide"


@pytest.fixture
def taught(configured: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    """Configure a published teacher of 24 pixels beside the foundation: `taught("kd", **settings)`."""

    def make(method: str, **settings: object) -> Config:
        torch.manual_seed(7)
        state = build_backbone(WIDE, channels=1, image_size=(24, 24)).state_dict()
        save_file(state, tmp_path / "other.safetensors")
        teacher = f"{{backbone: {WIDE}, weights: other.safetensors, image: {{size: 24}}}}"
        return configured(tmp_path, method=method, **{"teachers": f"[{teacher}]", **settings})

    return make


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_tensors(run / WEIGHTS)


def same(one: Path, two: Path) -> bool:
    left, right = weights(one), weights(two)
    return left.keys() == right.keys() and all(torch.equal(value, right[key]) for key, value in left.items())


@pytest.mark.parametrize("method", ["rd", "lorkd"])
def test_a_run_says_what_each_teacher_was_worth(taught: Callable[..., Config], tmp_path: Path, method: str) -> None:
    events: list[Any] = []
    config = taught(method)
    run = open_run(train(config, out=tmp_path / "runs", on_event=events.append).run)
    rows = run.manifest.extra["teachers"]
    assert [row["backbone"] for row in rows] == [WIDE, WIDE]
    assert rows[0]["digest"] == load_foundation(run.foundation_dir).digest != rows[1]["digest"]
    assert "pretrained" in rows[0]["source"]
    assert set(rows[1]["source"]) == {"weights", "report"}
    for name, chance in (("chest", 0.5), ("knee", 1 / 3)):
        above = [max(0.0, row["val"][name] - chance) for row in rows]
        expected = [value / sum(above) if sum(above) else 0.5 for value in above]
        assert [row["share"][name] for row in rows] == pytest.approx(expected, abs=1e-6)
    terms = {term for row in run.metrics for term in row["loss"]}
    assert {"ce", "projector", "projector 2"} <= terms if method == "lorkd" else {"kd", "kd 2"} <= terms
    texts = [one.text for one in events if isinstance(one, Notice)]
    assert any("region 'chest': teacher 1 scores" in text and "teacher 2 scores" in text for text in texts)
    assert any(text.startswith("teacher 2: other.safetensors") for text in texts)
    again = train(run.config, out=tmp_path / "runs")
    assert again.up_to_date
    assert again.run == run.path


def test_an_interrupted_training_ends_as_an_uninterrupted_one(taught: Callable[..., Config], tmp_path: Path) -> None:
    config = taught("rd", **{"train.epochs": 2})

    def stop(event: object) -> None:
        if isinstance(event, Saved) and event.phase == "rd-knee":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out=tmp_path / "one" / "runs", on_event=stop)
    first = train(config, out=tmp_path / "one" / "runs", resume=True)
    second = train(config, out=tmp_path / "two" / "runs")
    assert same(first.run, second.run)


def test_weights_of_a_further_teacher_decide_the_run(
    taught: Callable[..., Config], configured: Callable[..., Config], tmp_path: Path
) -> None:
    config = taught("kd")
    plans = [train(config, out=tmp_path / "runs", dry_run=True)]
    torch.manual_seed(8)
    save_file(build_backbone(WIDE, channels=1, image_size=(24, 24)).state_dict(), tmp_path / "other.safetensors")
    plans.append(train(config, out=tmp_path / "runs", dry_run=True))
    assert plans[0].run != plans[1].run
    plan = plans[0].plan
    assert plan is not None
    (row,) = plan.teachers
    assert (row.backbone, row.input_shape, row.epochs) == (WIDE, [1, 24, 24], 0)
    assert row.weights_match is not None
    alone = train(configured(tmp_path, method="kd"), out=tmp_path / "runs", dry_run=True).plan
    assert alone is not None
    assert not alone.teachers
    assert not (tmp_path / "runs").exists()


def test_a_further_teacher_is_pretrained_or_fine_tuned_where_the_foundation_is(
    taught: Callable[..., Config], tmp_path: Path
) -> None:
    given = "weights: other.safetensors, image: {size: 24}, finetune: {epochs: 1}"
    config = taught("fitnet", teachers=f"[{{backbone: {WIDE}, {given}}}, {{backbone: {WIDE}, regions: [knee]}}]")
    run = open_run(train(config, out=tmp_path / "runs").run)
    rows = run.manifest.extra["teachers"]
    assert [set(row["source"]) for row in rows] == [{"pretrained"}, {"finetuned", "from"}, {"pretrained"}]
    assert len(list((tmp_path / "foundations").glob("[!.]*"))) == 3
    path = pretrain(config, out=tmp_path / "foundations")
    directory = taught("cka", teachers=f"[{{backbone: {WIDE}, weights: {path}}}]")
    row = open_run(train(directory, out=tmp_path / "runs").run).manifest.extra["teachers"][1]
    assert "manifest" in row["source"]


def test_methods_without_a_teacher_ignore_them(
    taught: Callable[..., Config], configured: Callable[..., Config], tmp_path: Path
) -> None:
    events: list[Any] = []
    result = train(taught("stl"), out=tmp_path / "runs", on_event=events.append, dry_run=True)
    assert Notice(text="teachers has no effect: stl has no teacher") in events
    assert result.run == train(configured(tmp_path, method="stl"), out=tmp_path / "runs", dry_run=True).run


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("lora-kd", {}, "teachers with method lora-kd"),
        ("kd", {"cache.enabled": True, "train.augment": "null"}, "teachers with cache.enabled"),
        ("kd", {"teachers": "[{backbone: resnet18, weights: x.onnx, features: [a]}]"}, "no ONNX file as teachers.0"),
        ("kd", {"teachers": "[{backbone: nothing}]"}, "nothing"),
        ("kd", {"teachers": "[{backbone: resnet18, image: {size: [8, 8, 8]}}]"}, "teachers.0.image.size"),
        ("kd", {"teachers": "[{backbone: resnet18, regions: [hip]}]"}, "teachers.0.regions"),
        ("kd", {"teachers": "[{backbone: resnet18, weights: absent.pth}]"}, "teachers.0.weights: no file"),
        ("kd", {"teachers": "[{backbone: resnet18, weight: absent.pth}]"}, "did you mean 'weights'"),
    ],
)
def test_what_cannot_teach_is_refused_in_one_line(
    taught: Callable[..., Config], tmp_path: Path, method: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(LorkitError) as caught:
        train(taught(method, **settings), out=tmp_path / "runs")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_settings_without_further_teachers_have_the_digest_of_before(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    config = configured(tmp_path)
    assert config_digest(config) == config_digest(config.model_copy(update={"teachers": ()}))
    other = config.model_copy(update={"teachers": (config.foundation,)})
    assert config_digest(config) != config_digest(other)


def test_methods_of_a_comparison_share_the_teachers(taught: Callable[..., Config], tmp_path: Path) -> None:
    config = taught("stl")
    events: list[Any] = []
    options: dict[str, Any] = {
        "methods": ["stl", "kd"],
        "variants": ["alone:kd:teachers=[]"],
        "out": tmp_path / "cells",
    }
    document = compare(config, **options, fractions=(1.0, 0.5), on_event=events.append)
    assert {row.method for row in document.rows} == {"stl", "kd"}
    told = [one.text for one in events if isinstance(one, Notice) and "teacher 2 scores" in one.text]
    assert len(told) == 4  # two regions and two fractions of `kd`, none of the others
    terms = {}
    for path in (tmp_path / "cells").glob("*/cells/*/cell.json"):
        found = read_json(path)
        terms[found["arm"], found["head"]["fraction"]] = {term for row in found["history"] for term in row["loss"]}
    kinds = sorted(map(sorted, terms.values()))
    assert kinds == [["ce"]] * 2 + [["ce", "kd"]] * 2 + [["ce", "kd", "kd 2"]] * 2
    for methods, variant, controls, message in (
        (["lora-kd"], [], False, "teachers with method lora-kd"),
        (["kd"], [], True, "--controls with teachers"),
        (["kd"], [f"b:kd:teachers=[{{backbone: {WIDE}}}]"], False, "--variant b changes teachers"),
    ):
        with pytest.raises(LorkitError, match=message):
            compare(config, methods=methods, variants=variant, controls=controls, out=tmp_path / "other")


def test_the_baseline_of_the_gate_is_the_foundation(taught: Callable[..., Config], tmp_path: Path) -> None:
    run = open_run(train(taught("kd"), out=tmp_path / "runs").run)
    stored = load_foundation(run.foundation_dir)
    assert stored.digest == run.manifest.extra["teachers"][0]["digest"]
    assert stored.image["size"] == [16, 16]


def test_cards_and_derived_runs_have_the_shares(
    taught: Callable[..., Config], tmp_path: Path, without_program: None
) -> None:
    run = open_run(train(taught("lorkd"), out=tmp_path / "runs").run)
    rows = run.manifest.extra["teachers"]
    extract(run, region="knee")
    expert = run.path / "experts" / "knee"
    found = read_json(expert / "expert.json")["made_from"]["teachers"]
    assert [row["share"] for row in found] == [{"knee": row["share"]["knee"]} for row in rows]
    card = " ".join((expert / "README.md").read_text().split())
    assert f"teachers with their shares by validation {WIDE} (knee {rows[0]['share']['knee']:.2f})" in card
    less = open_run(remove_region(run, "chest", out=tmp_path / "runs").run).manifest.extra["teachers"]
    assert [set(row["val"]) for row in less] == [{"knee"}, {"knee"}]
    assert [row["source"] for row in less] == [row["source"] for row in rows]
    events: list[Any] = []
    more = add_region(
        open_run(tmp_path / "runs" / run.id), "hip", _with_hip(run.config, tmp_path), on_event=events.append
    )
    assert Notice(text="region 'hip' learns from the foundation of the run alone") in events
    assert open_run(more.run).manifest.extra["teachers"] == rows


def _with_hip(config: Config, directory: Path) -> Config:
    shutil.copy(directory / "chest.npz", directory / "hip.npz")
    hip = config.regions["chest"].model_copy(update={"data": (str(directory / "hip.npz"),)})
    return config.model_copy(update={"regions": {**config.regions, "hip": hip}})


def test_the_plan_is_printed_with_every_teacher(
    taught: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = "weights: other.safetensors, image: {size: 24}, finetune: {epochs: 2}"
    config = taught("rd", teachers=f"[{{backbone: {WIDE}, {given}}}]")
    document = train(config, out=tmp_path / "runs", dry_run=True).plan
    assert document is not None
    plan(document)
    text = " ".join("".join(capsys.readouterr()).split())
    assert "teacher 2 is fine-tuned first: 2 epochs of" in text
    assert "other.safetensors: " in text
