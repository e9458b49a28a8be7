"""Detection: real names of GPUs and CPU flags to the profile that describes them."""

from __future__ import annotations

import pytest

from lorkit.profiles import ProfileError, detect
from lorkit.profiles.detect import choose


@pytest.mark.parametrize(
    ("gpu", "profile"),
    [
        ("Tesla T4", "t4"),
        ("NVIDIA L4", "l4"),
        ("NVIDIA A10", "a10"),
        ("NVIDIA A10G", "a10"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-ada"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", "l40s"),
        ("NVIDIA GeForce RTX 3090", "rtx-ampere"),
        ("NVIDIA RTX A6000", "rtx-ampere"),
        ("NVIDIA GeForce RTX 5090", "rtx-blackwell"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "rtx-blackwell"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-ada"),
        ("Orin (nvgpu)", "jetson-orin"),
    ],
)
def test_gpu_names(gpu: str, profile: str) -> None:
    assert detect({"gpus": [{"name": gpu}], "flags": ["avx512_vnni"]}).name == profile


@pytest.mark.parametrize("gpu", ["NVIDIA A1000", "NVIDIA GH200 480GB", "NVIDIA GB200", "NVIDIA GeForce RTX 2080 Ti"])
def test_an_unknown_gpu_leaves_the_cpu(gpu: str) -> None:
    assert detect({"gpus": [{"name": gpu}], "flags": []}).name == "cpu-generic"


def test_cpu_flags() -> None:
    assert detect({"gpus": [], "flags": ["avx2", "avx512_vnni"]}).name == "cpu-avx512-vnni"
    bf16 = ["avx2", "avx512_vnni", "avx512_bf16"]
    assert detect({"gpus": [], "flags": bf16}).name == "cpu-avx512-bf16"
    assert detect({"gpus": [], "flags": [*bf16, "amx_bf16", "amx_int8"]}).name == "cpu-amx"
    assert detect({"gpus": [], "flags": ["avx2"]}).name == "cpu-generic"
    assert detect({}).name == "cpu-generic"


def test_nothing_matches() -> None:
    with pytest.raises(ProfileError, match="name one with --profile"):
        choose([], {})
