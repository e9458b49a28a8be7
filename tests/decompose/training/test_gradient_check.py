"""A method is tried out on random images before anything is trained: every gradient path is checked."""

from __future__ import annotations

import pytest
import torch
from reprogramming_pairs import MAPS, make_pair, settings

from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods.reprogramming.drd import check_stages
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.training.gradient_check import check_batches, check_gradient_paths

CLASSES = RegionSet([Region(name="a", classes=("x", "y", "z"))])


@pytest.mark.parametrize(
    ("method", "student", "teacher", "size", "regions"),
    [
        ("drd", "unet", "basicunet", "[16, 32]", MAPS),
        ("drd", "dynunet", "segresnet", "[8, 16, 8]", MAPS),
        ("rd", "segresnet", "dynunet", "[8, 16, 8]", MAPS),
        ("drd", "shufflenet_v2_x1_0", "vit_tiny", "[16, 16]", MAPS),
        ("drd", "vit_tiny", "shufflenet_v2_x1_0", "[16, 16]", CLASSES),
        ("drd", "tiny_resnet_3d", "tiny_resnet_3d", "[8, 8, 8]", CLASSES),
    ],
)
def test_a_rehearsal_finds_every_gradient_where_it_belongs(
    method: str, student: str, teacher: str, size: str, regions: RegionSet
) -> None:
    config = settings(student=student, teacher=teacher, size=size)
    module, foundation = make_pair(method, config, regions, torch.float32)
    found = check_gradient_paths(config, module, foundation)
    stages = 4 if method == "drd" else 1
    assert len(found.stages) == stages
    assert all(stage.reprogrammed_shape == stage.student_shape for stage in found.stages)
    assert len(found.gradient_paths) == 6 * stages + 1
    assert found.extra_macs > 0
    assert found.frozen_parameters == sum(value.numel() for value in foundation.model.parameters())


def test_a_rehearsal_names_a_path_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(student="dynunet", teacher="dynunet")
    module, foundation = make_pair("drd", config, MAPS, torch.float32)
    monkeypatch.setattr(module.phis[1], "forward", lambda grid: torch.zeros(len(grid), 32, 8, 8))
    with pytest.raises(UsageError, match="no gradient on the path hybrid 2 alone -> phi 2"):
        check_gradient_paths(config, module, foundation)


@pytest.mark.parametrize(
    ("overrides", "count", "message"),
    [
        (("rd.cka.view=gap", "rd.cka.estimator=unbiased", "train.batch_size=6", "train.accumulate=2"), 20, "3 sample"),
        (("rd.cka.view=gap", "rd.cka.estimator=unbiased", "train.batch_size=3"), 20, "in a batch of 3"),
        (("rd.cka.view=patch-image", "rd.cka.estimator=unbiased"), 20, "stage 4"),
    ],
)
def test_batches_too_small_for_the_alignment_are_refused(overrides: tuple[str, ...], count: int, message: str) -> None:
    config = settings(*overrides, student="basicunet", teacher="dynunet", size="[16, 32]")
    module, _ = make_pair("drd", config, MAPS, torch.float32)
    with pytest.raises(UsageError, match=message) as caught:
        check_batches(config.train, module, [MAPS], {"a": count})
    assert "\n" not in str(caught.value)
    fine = settings(*overrides, "rd.cka.weight=0", student="basicunet", teacher="dynunet", size="[16, 32]")
    module, _ = make_pair("drd", fine, MAPS, torch.float32)
    check_batches(fine.train, module, [MAPS], {"a": count})


def test_stages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="a foundation of 3 stages for a student of 4"):
        check_stages([(8, 4, 4)] * 3, [(8, 4, 4)] * 4)
    with pytest.raises(UsageError, match="stages of 3 axes for a student's of 2"):
        check_stages([(8, 4, 4, 4)] * 4, [(8, 4, 4)] * 4)
