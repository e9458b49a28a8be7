"""What a method could not learn from is refused before a foundation is pre-trained for it."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones import registry
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.plan import check_training

REGIONS = RegionSet([Region(name="a", classes=("x", "y"))])


def check(method: str, *settings: str, count: int = 40) -> None:
    small = ("regions={a: {data: x}}", "foundation.backbone=resnet18", "student.backbone=shufflenet_v2_x1_0")
    config = default_config(overrides=[*small, *settings], method=method)
    check_training(config, get_method(method), REGIONS, {"a": count})


@pytest.mark.parametrize("method", ["stl", "kd", "rd", "drd", "lora-kd"])
def test_what_fits_passes(method: str) -> None:
    check(method)


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("rd", ("train.batch_size=8", "train.accumulate=4", "rd.cka.estimator=unbiased"), "unbiased CKA"),
        ("rd", ("rd.cka.view=token",), "view token for pooled features"),
        ("rd", ("rd.cka.view=patch-image",), "view patch-image for pooled features"),
    ],
)
def test_what_does_not_fit_is_one_line(method: str, settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check(method, *settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["drd", "kd"])
def test_teacher_and_student_are_built_once(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    real = registry.build_backbone

    def build(name: str, **options: Any) -> nn.Module:
        network = real(name, **options)
        if next(network.parameters()).device.type != "meta":  # stages are checked by shapes alone
            built.append(name)
        return network

    monkeypatch.setattr("lorkit.decompose.methods.baselines.students.build_backbone", build)
    check(method, "cache.enabled=true", "train.augment=null")
    assert sorted(built) == ["resnet18", "shufflenet_v2_x1_0"]


def test_a_view_of_places_is_fine_where_stages_have_them() -> None:
    check("drd", "rd.cka.view=token")
