"""Teacher and student are built once, checked as they are, and trained as if nothing had been checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lorkit.decompose.config import default_config, load_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Event, Step
from lorkit.decompose.methods import get_method
from lorkit.decompose.models.backbones.registry import BACKBONES, Known
from lorkit.decompose.models.foundation.model import Foundation, with_regions
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.first_phase import BuiltModule, build_first_phase
from lorkit.decompose.training.foundation.pretraining import open_foundation
from lorkit.decompose.training.training import train

REGIONS = RegionSet([Region(name="a", classes=("x", "y"))])
CACHED = ("cache.enabled=true", "train.augment=null")


def check(method: str, *settings: str, count: int = 40) -> tuple[Foundation, dict[str, BuiltModule]]:
    small = ("regions={a: {data: x}}", "foundation.backbone=resnet18", "student.backbone=shufflenet_v2_x1_0")
    config = default_config(overrides=[*small, *settings], method=method)
    foundation = open_foundation(config, REGIONS, {"a": "0"}, Path("nowhere")).foundation
    built = build_first_phase(config, get_method(method), foundation, REGIONS, {"a": count}, Path("nowhere"))
    return foundation, built


@pytest.mark.parametrize(
    ("method", "kept"), [("stl", ["stl"]), ("kd", ["kd"]), ("rd", ["rd"]), ("drd", ["drd"]), ("lora-kd", ["lora-kd"])]
)
def test_what_fits_passes_and_is_kept_unless_it_copies_the_foundation(method: str, kept: list[str]) -> None:
    assert list(check(method)[1]) == kept


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("rd", ("train.batch_size=8", "train.accumulate=4", "rd.cka.estimator=unbiased"), "unbiased CKA"),
        ("rd", ("rd.cka.view=token",), "view token for pooled features"),
        ("rd", ("rd.cka.view=patch-image",), "view patch-image for pooled features"),
        ("mola-router", ("mola.top_k=2",), "mola.top_k 2 of 1 adapters"),
    ],
)
def test_what_does_not_fit_is_one_line(method: str, settings: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        check(method, *settings)
    assert "\n" not in str(caught.value)


def test_a_view_of_places_is_fine_where_stages_have_them() -> None:
    check("drd", "rd.cka.view=token")


def same(one: nn.Module, two: nn.Module) -> bool:
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(value, right[key]) for key, value in left.items())


@pytest.mark.parametrize("method", ["drd", "fitnet", "kd", "lorkd", "mmoe"])
def test_a_check_changes_no_weight_no_buffer_and_no_random_number(method: str) -> None:
    """What was checked goes on to be trained, so it must be what a build without any check would have been."""
    foundation, built = check(method, *CACHED)
    config = default_config(
        overrides=["regions={a: {data: x}}", "foundation.backbone=resnet18", "student.backbone=shufflenet_v2_x1_0"],
        method=method,
    )
    fresh = open_foundation(config, REGIONS, {"a": "0"}, Path("nowhere"))
    assert same(foundation.model, fresh.foundation.model)
    torch.manual_seed(config.seed)
    module = get_method(method).build(config, REGIONS, with_regions(fresh.foundation, REGIONS))
    assert same(built[method].module, module)
    assert torch.equal(built[method].random_state, torch.get_rng_state())
    assert fresh.random_state is not None
    torch.manual_seed(config.seed)
    assert not torch.equal(fresh.random_state, torch.get_rng_state()), "building draws"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("method", ["lorkd", "kd"])
def test_before_the_first_step_teacher_and_student_are_built_once(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network on the meta device is not built: it has shapes and no weights."""
    built: list[str] = []

    def counted(name: str) -> Known:
        def build(channels: int, size: tuple[int, ...]) -> nn.Module:
            network = BACKBONES["tiny"].build(channels, size)
            if next(network.parameters()).device.type != "meta":
                built.append(name)
            return network

        return Known(build)

    for name in ("teacher", "student"):
        monkeypatch.setitem(BACKBONES, name, counted(name))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", images=rng.integers(0, 255, (24, 16, 16), np.uint8), labels=np.arange(24) % 2)
    settings = "image: {size: 16, channels: 1}\nregions: {a: {data: a.npz}}\ntrain: {epochs: 1, batch_size: 8}\n"
    (tmp_path / "c.yaml").write_text(settings, encoding="utf-8")
    named = ("foundation.backbone=teacher", "student.backbone=student", f"method={method}")
    counts: list[list[str]] = []

    def hear(event: Event) -> None:
        if isinstance(event, Step):
            counts.append(list(built))

    for run in ("first", "again"):  # pre-trained here, then found again
        built.clear()
        counts.clear()
        overrides = [*named, f"name={run}"]
        train(load_config(tmp_path / "c.yaml", overrides=overrides), out=tmp_path / "runs", on_event=hear)
        assert counts[0] == ["teacher", "student"]
        assert counts[-1] == ["teacher", "student"], "nor is anything read back"
