"""The built-in profiles, and a user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.profiles import ProfileError, available, detect, load


def test_built_in_profiles() -> None:
    assert available() == (
        "a10",
        "a100",
        "b200",
        "cpu-amx",
        "cpu-avx512-bf16",
        "cpu-avx512-vnni",
        "cpu-generic",
        "h100",
        "h200",
        "jetson-orin",
        "l4",
        "l40s",
        "rtx-ada",
        "rtx-ampere",
        "rtx-blackwell",
        "t4",
    )


@pytest.mark.parametrize("name", available())
def test_each_profile_is_honest(name: str) -> None:
    profile = load(name)
    assert profile.name == name
    assert profile.budget.p95_ms is None
    assert profile.budget.peak_mib is None
    assert (profile.device.compute_capability is not None) == (profile.device.kind == "gpu")


@pytest.mark.parametrize("name", [name for name in available() if name.startswith("cpu-")])
def test_a_cpu_has_bf16_only_where_its_instructions_are_asked_for(name: str) -> None:
    profile = load(name)
    assert ("bf16" in profile.precisions) == any(flag.endswith("_bf16") for flag in profile.match.flags)
    assert {"fp32", "int8"} <= set(profile.precisions)


def test_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ProfileError, match=r"unknown profile 'h20'; required: one of a10, .*; did you mean 'h200'\?"):
        load("h20")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "ward.yaml"
    file.write_text(
        "name: ward\ndescription: ward PC\ndevice: {kind: cpu, vendor: any, architecture: any}\n"
        "targets: [onnx]\nprecisions: [fp32]\nbudget: {p95_ms: 40}\n"
    )
    assert load(file).budget.p95_ms == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: [", "is not YAML"), ("name: ward\n", "description: Field required"), ("3\n", "profile: ")],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "ward.yaml"
    file.write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        load(file)
    assert "\n" not in str(caught.value)


def test_a_missing_file() -> None:
    with pytest.raises(ProfileError, match="no profile file"):
        load("nowhere/ward.yaml")


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
        detect({}, [])
