"""The built-in profiles, and a user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.profiles import ProfileError, available, load


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
