"""What a method could not learn from is refused before a foundation is pre-trained for it."""

from __future__ import annotations

import pytest

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import get_method
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.plan import check_distillation

REGIONS = RegionSet([Region(name="a", classes=("x", "y"))])


def check(method: str, *settings: str, count: int = 40) -> None:
    small = ("regions={a: {data: x}}", "foundation.backbone=resnet18", "student.backbone=shufflenet_v2_x1_0")
    config = default_config(overrides=[*small, *settings], method=method)
    check_distillation(config, get_method(method), REGIONS, {"a": count})


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


def test_a_view_of_places_is_fine_where_stages_have_them() -> None:
    check("drd", "rd.cka.view=token")
