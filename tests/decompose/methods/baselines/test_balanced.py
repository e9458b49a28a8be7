"""The multi-task baselines that differ in their balancer alone."""

from collections.abc import Callable

import pytest

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.baselines.balanced import METHODS as BALANCED
from lorkit.decompose.regions import Region, RegionSet

REGIONS = RegionSet([Region(name=name, classes=("x", "y")) for name in "ab"])
SMALL = ("regions={a: {data: x}, b: {data: x}}", "image.size=16", "student.backbone=vit_tiny")


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_every_balanced_method_is_found_and_its_runs_can_be_read_back() -> None:
    names = {method.name for method in BALANCED}
    assert names == {"mtl-pcgrad", "mtl-cagrad", "mtl-aligned", "mtl-upgrad", "mtl-nash"}
    assert names <= set(METHODS)
    assert len({method.balancer for method in BALANCED}) == len(BALANCED)


def test_the_student_is_that_of_mtl_with_its_own_balancer() -> None:
    pytest.importorskip("torchjd", reason="the extra 'balancers' is not installed")
    config = default_config(overrides=[*SMALL, "train.balancer=aligned-mtl"])
    module = get_method("mtl-pcgrad").build(config, REGIONS, None)
    assert module.balancer == "pcgrad"
    plain = get_method("mtl").build(config, REGIONS, None)
    assert plain.balancer == "aligned-mtl"
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert "train.balancer aligned-mtl has no effect" in get_method("mtl-pcgrad").notices(config)[0]
    assert not get_method("mtl-aligned").notices(config)


def test_what_cannot_be_balanced_is_refused_before_training(without_packages: Callable[[], None]) -> None:
    method = get_method("mtl-nash")
    with pytest.raises(UsageError, match="fp16"):
        method.notices(default_config(overrides=[*SMALL, "train.precision=fp16"]))
    without_packages()
    with pytest.raises(MissingRuntimeError, match="torchjd"):
        method.notices(default_config(overrides=SMALL))
    with pytest.raises(MissingRuntimeError, match="torchjd"):
        method.build(default_config(overrides=SMALL), REGIONS, None)
