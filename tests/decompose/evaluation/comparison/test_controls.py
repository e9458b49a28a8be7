"""Controls stand beside every method that learns from the foundation, and gains are differences of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.config import Config, ImageConfig, default_config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import ComparedMethod, compared_methods
from lorkit.decompose.evaluation.comparison.comparison import compare
from lorkit.decompose.evaluation.comparison.controls import with_controls
from lorkit.decompose.events import Event, Notice, Started
from lorkit.decompose.models.foundation.teacher import TeacherFeatures, weights_digest


def labels(
    names: list[str], variants: list[str] | None = None, *, own_teacher: bool = False
) -> dict[str, ComparedMethod]:
    config = default_config()
    methods = compared_methods(config, names, variants or [])
    return {one.label: one for one in with_controls(config, methods, own_teacher=own_teacher)}


def test_each_distillation_gets_a_random_teacher_and_all_share_the_others() -> None:
    found = labels(["mtl", "rd", "lorkd", "lora-kd"])
    assert list(found) == [
        "mtl",
        *("rd", "rd-random-teacher", "lorkd", "lorkd-random-teacher", "lora-kd", "lora-kd-random-teacher"),
        *("stl", "linear-probe"),
    ]
    random = found["rd-random-teacher"]
    assert random.config == found["rd"].config
    assert random.digest != found["rd"].digest
    assert random.row.random_teacher
    assert not found["rd"].row.random_teacher
    assert random.digest_of(1) != random.digest
    assert list(labels(["linear-probe", "stl", "kd"])) == ["linear-probe", "stl", "kd", "kd-random-teacher"]


def test_a_variant_has_controls_with_its_own_student_and_training() -> None:
    variants = ["hot:kd:kd.temperature=2", "big:kd:student.backbone=resnet34,kd.temperature=2,train.lr=0.1"]
    found = labels(["kd"], variants)
    extra = ["kd-random-teacher", "hot-random-teacher", "big-random-teacher", "stl", "big-student-alone"]
    assert set(found) == {"kd", "hot", "big", *extra, "linear-probe"}
    alone = found["big-student-alone"]
    assert alone.settings == ("student.backbone=resnet34", "train.lr=0.1")
    assert (alone.config.method, alone.config.student.backbone, alone.config.train.lr) == ("stl", "resnet34", 0.1)
    assert found["big-random-teacher"].settings == found["big"].settings
    # a control that is compared already, under a name of its own
    assert "big-student-alone" not in labels([], [variants[1], f"mine:stl:{','.join(alone.settings)}"])


def test_the_users_own_network_has_only_the_student_alone() -> None:
    assert list(labels(["rd"], own_teacher=True)) == ["rd", "stl"]


def test_controls_without_distillation_or_with_a_taken_label_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--controls with mtl, finetune; required: a method that learns") as caught:
        labels(["mtl", "finetune"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="variant 'kd-random-teacher', which is the name of a control"):
        labels(["kd"], ["kd-random-teacher:rd:"])


@pytest.fixture(scope="module")
def config(made_run: Path, tiny: None) -> Config:
    backbones = ["foundation.backbone=tiny_resnet_wide", "student.backbone=tiny_resnet"]
    return load_config(made_run / "decompose.yaml", overrides=["name=small", "train.augment=null", *backbones])


@pytest.fixture(scope="module")
def controlled(config: Config, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("controls") / "comparisons"
    call = {"methods": ["kd", "lorkd"], "seeds": [0, 1], "fractions": [1.0, 0.5], "out": out}
    return out, compare(config, controls=True, **call).to_json()


def test_gains_are_differences_of_the_means_of_rows(controlled: tuple[Path, dict[str, Any]]) -> None:
    _, document = controlled
    means = {(row["label"], row["fraction"]): row["balanced_accuracy"] for row in document["table"]}
    assert [(row["label"], row["fraction"]) for row in document["controls"]] == [
        (label, part) for part in (1.0, 0.5) for label in ("kd", "lorkd")
    ]
    wanted = {
        "over_student": ("{}", "stl"),
        "random_over_student": ("{}-random-teacher", "stl"),
        "over_random": ("{}", "{}-random-teacher"),
        "over_probe": ("{}", "linear-probe"),
    }
    for row in document["controls"]:
        for key, pair in wanted.items():
            one, other = (name.format(row["label"]) for name in pair)
            found = row[key]
            assert (found["label"], found["over"], found["seeds"]) == (one, other, [0, 1])
            expected = means[one, row["fraction"]] - means[other, row["fraction"]]
            assert found["gain"] == pytest.approx(expected)
            assert found["ci"][0] <= found["gain"] <= found["ci"][1]
        assert "without_random_teacher" not in row


def test_the_same_steps_for_all(controlled: tuple[Path, dict[str, Any]]) -> None:
    _, document = controlled
    rows = {(row["label"], row["fraction"]): row for row in document["table"]}
    for part in (1.0, 0.5):
        steps = {
            label: {one["optimiser_steps"] for one in rows[label, part]["exposure"].values()}
            for label in ("kd", "kd-random-teacher", "lorkd", "lorkd-random-teacher", "stl")
        }
        assert len(set.union(*steps.values())) == 1
    random = rows["kd-random-teacher", 1.0]
    assert (random["method"], random["random_teacher"]) == ("kd", True)
    assert all(row["random_teacher"] for row in document["rows"] if row["label"].endswith("-random-teacher"))


def test_another_network_teaches(controlled: tuple[Path, dict[str, Any]]) -> None:
    out, _ = controlled
    cells = [read_json(path, kind="cell") for path in out.glob("*/cells/*/cell.json")]
    for name in ("kd", "lorkd"):
        losses: dict[tuple[int, float], list[dict[str, float]]] = {}
        for cell in cells:
            if cell["head"]["method"] == name:
                loss = {term: value for row in cell["history"] for term, value in row["loss"].items()}
                losses.setdefault((cell["head"]["seed"], cell["head"]["fraction"]), []).append(loss)
        assert len(losses) == 4
        for one, other in losses.values():
            assert one.keys() == other.keys(), "the terms are the same"
            assert one != other, "what they teach is not"


def test_cells_are_kept_and_later_calls_show_the_controls_too(
    config: Config, controlled: tuple[Path, dict[str, Any]]
) -> None:
    out, document = controlled
    heard: list[Event] = []
    call = {"methods": ["kd"], "seeds": [0], "out": out, "on_event": heard.append}
    again = compare(config, controls=True, **call).to_json()
    assert not [event for event in heard if isinstance(event, Started)]
    rows = {(row["label"], row["seed"], row["fraction"]): row for row in document["rows"]}
    assert again["rows"] == [rows[row["label"], 0, 1.0] for row in again["rows"]]
    assert len({str(row["regions"]) for row in again["rows"]}) > 1
    assert "controls" not in compare(config, **call).to_json(), "kd alone has none"
    (directory,) = out.iterdir()
    stored = read_json(directory / "comparison.json", kind="compare")
    assert {str(row) for row in stored["controls"]} == {str(row) for row in document["controls"]}
    # without the flag, controls that are compared anyway are recognised
    (beside,) = compare(config, methods=["stl", "kd"], seeds=[0], out=out).to_json()["controls"]
    assert (beside["over_student"]["over"], beside["over_random"], beside["over_probe"]) == ("stl", None, None)


class Given(nn.Module):
    """A user's network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image = ImageConfig(size=(16, 16), channels=1)
        self.stem = nn.Conv2d(1, 6, 3, 2, 1)
        self.digest = weights_digest(self)

    def features(self, image: torch.Tensor) -> TeacherFeatures:
        return TeacherFeatures((), self.stem(image).relu().mean((2, 3)))


def test_the_document_says_why_there_is_no_random_teacher(configured: Callable[..., Config], tmp_path: Path) -> None:
    heard: list[Event] = []
    found = compare(
        configured(tmp_path), methods=["kd"], controls=True, teacher=Given(),
        out=tmp_path / "comparisons", on_event=heard.append,
    ).to_json()  # fmt: skip
    (row,) = found["controls"]
    assert "for which lorkit cannot draw new weights" in row["without_random_teacher"]
    assert (row["random_over_student"], row["over_random"]) == (None, None)
    assert (row["over_student"]["over"], row["over_probe"]["over"]) == ("stl", "foundation")
    assert [row["label"] for row in found["table"]] == ["kd", "stl"]
    said = [event.text for event in heard if isinstance(event, Notice)]
    assert any(text.startswith("no random teacher: the foundation is the user's own network") for text in said)
