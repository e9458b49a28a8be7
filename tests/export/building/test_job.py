from __future__ import annotations

import pytest

from lorkit import profiles
from lorkit.export.building.job import ExportJob
from lorkit.export.targets import get_target


@pytest.mark.parametrize(
    ("target", "profile", "scheme"),
    [
        ("onnx", "cpu-generic", "reduced"),
        ("openvino", "cpu-avx512-vnni", "asymmetric"),
        ("onnx", "cpu-amx", "asymmetric"),
        ("onnx", "h100", "symmetric"),
        ("trt", "t4", "symmetric"),
    ],
)
def test_weights_have_as_many_bits_as_the_hardware_adds_without_saturating(
    target: str, profile: str, scheme: str
) -> None:
    assert ExportJob(get_target(target), profiles.load(profile), "int8").scheme == scheme
