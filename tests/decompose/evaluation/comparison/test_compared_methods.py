from __future__ import annotations

import pytest

from lorkit.decompose.config import Config, config_digest, default_config
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.evaluation.comparison.compared_methods import check_available, compared_methods, shared_settings
from lorkit.decompose.events import Event, Notice


@pytest.fixture(scope="module")
def config() -> Config:
    return default_config()


def test_methods_then_variants(config: Config) -> None:
    arms = compared_methods(
        config, ["mtl", "lorkd"], ["r:lorkd:lorkd.ranks={chest: 3, knee: 2},lorkd.rank=4, train.epochs=2"]
    )
    assert [arm.label for arm in arms] == ["mtl", "lorkd", "r"]
    assert [arm.config.method for arm in arms] == ["mtl", "lorkd", "lorkd"]
    variant = arms[2]
    assert variant.settings == ("lorkd.ranks={chest: 3, knee: 2}", "lorkd.rank=4", "train.epochs=2")
    assert (dict(variant.config.lorkd.ranks), variant.config.lorkd.rank) == ({"chest": 3, "knee": 2}, 4)
    assert variant.config.train.epochs == 2
    assert arms[1].config.lorkd == config.lorkd


def test_no_method_stops_early(config: Config) -> None:
    events: list[Event] = []
    patient = config.model_copy(update={"train": config.train.model_copy(update={"patience": 3})})
    assert shared_settings(patient, events.append).train.patience is None
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "train.patience has no effect in a comparison: every method trains the same number of steps"
    ]
    events.clear()
    assert shared_settings(config, events.append).train == config.train
    assert not events
    with pytest.raises(UsageError, match=r"--variant x changes train\.patience"):
        compared_methods(config, ["mtl"], ["x:mtl:train.patience=3"])


def test_the_digest_knows_settings_and_not_the_seed(config: Config) -> None:
    one, two, three = compared_methods(config, ["lorkd"], ["a:lorkd:", "b:lorkd:lorkd.rank=4"])
    assert one.digest == two.digest != three.digest
    other = config.model_copy(update={"seed": 7})
    assert compared_methods(other, ["lorkd"], [])[0].digest == one.digest


def test_the_constants_of_a_balancer_are_part_of_its_digest(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["mtl", "mtl-cagrad", "mtl-pcgrad", "lorkd"]
    variants = ["c:lorkd:train.balancer=cagrad", "p:lorkd:train.balancer=pcgrad"]
    before = [arm.digest for arm in compared_methods(config, names, variants)]
    assert len(set(before)) == len(before)
    assert before[0] == config_digest(compared_methods(config, ["mtl"], [])[0].config), (
        "cells of the sum keep their place"
    )
    monkeypatch.setattr("lorkit.decompose.training.gradients.balancing._CAGRAD_RADIUS", 0.5)
    after = [arm.digest for arm in compared_methods(config, names, variants)]
    assert [one == two for one, two in zip(before, after, strict=True)] == [True, False, True, True, False, True]
    monkeypatch.setattr("lorkit.decompose.training.gradients.balancing._REVISION", 99)
    last = [arm.digest for arm in compared_methods(config, names, variants)]
    assert [one == two for one, two in zip(before, last, strict=True)] == [True, False, False, True, False, False]


def test_all_that_is_missing_is_named_before_anything_is_trained(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_available(compared_methods(config, ["stl", "lorkd"], []))
    with pytest.raises(MissingRuntimeError, match="balancer 'cagrad' needs torchjd, cvxpy, clarabel"):
        check_available(compared_methods(config, ["mtl"], ["c:mtl:train.balancer=cagrad"]))
    with pytest.raises(MissingRuntimeError, match=r'"lorkit\[peft\]"; pip install "lorkit\[balancers\]"$') as caught:
        check_available(compared_methods(config, ["stl", "lora", "mtl-upgrad", "mtl-pcgrad"], []))
    assert "LoRA needs peft" in str(caught.value)
    assert "'upgrad' needs torchjd, qpsolvers, quadprog" in str(caught.value)


def test_a_variant_that_cannot_compile_is_refused(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: object) -> None:
        raise MissingRuntimeError("no compiler")

    monkeypatch.setattr("lorkit.decompose.evaluation.comparison.compared_methods.check_compiler", refuse)
    with pytest.raises(MissingRuntimeError, match="no compiler"):
        check_available(compared_methods(config, ["mtl"], ["c:mtl:train.compile=true"]))


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("rank4", "LABEL:METHOD"),
        ("a b:lorkd:", "LABEL:METHOD"),
        ("foundation:lorkd:", "is not 'foundation'"),
        ("mtl:lorkd:", "'mtl' is the name of a method"),
        ("stl:lorkd:lorkd.rank=4", "'stl' is the name of a method"),
        ("x:lorkdd:", "did you mean 'lorkd'"),
        ("x:lorkd:lorkd.rnk=4", "unknown key 'lorkd.rnk' in the variant"),
        ("x:lorkd:image.size=16", "changes image.size"),
        ("x:lorkd:seed=3", "changes seed"),
        ("x:lorkd:foundation.backbone=resnet18", "changes foundation.backbone"),
        ("x:lorkd:train.precision=bf16", "changes train.precision"),
    ],
)
def test_what_a_variant_cannot_be(config: Config, variant: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compared_methods(config, ["mtl"], [variant])
