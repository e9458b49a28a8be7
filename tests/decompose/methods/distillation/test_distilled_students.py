from __future__ import annotations

from small_methods import REGIONS

from lorkit.decompose.config import default_config
from lorkit.decompose.methods import get_method
from lorkit.decompose.methods.distillation.feature_and_logit import DistillingModule

SMALL = ("regions={a: {data: x}, b: {data: x}}", "image.size=16", "student.backbone=shufflenet_v2_x1_0")


def test_one_shares_a_student_and_the_other_has_one_per_region() -> None:
    shared, separate = get_method("mtl-kd"), get_method("stl-kd")
    assert (shared.uses_teacher, separate.uses_teacher) == (True, True)
    assert [phase.names for phase in shared.phases(REGIONS)] == [("a", "b")]
    assert [phase.names for phase in separate.phases(REGIONS)] == [("a",), ("b",)]


def test_without_a_foundation_there_is_no_projector_and_what_is_off_is_announced() -> None:
    config = default_config(overrides=[*SMALL, "lorkd.feature_kd.weight=0", "lorkd.logit_kd.weight=0"])
    module = get_method("mtl-kd").build(config, REGIONS, None)
    assert isinstance(module, DistillingModule)
    assert module.projector is None
    assert set(module.live.heads) == {"a", "b"}
    said = get_method("mtl-kd").notices(config)
    assert [name in line for name, line in zip(("feature_kd", "logit_kd"), said, strict=True)] == [True, True]
