"""MMoE: gradients of every part, and what becomes of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from routed_models import DATA, routed_batch
from small_methods import REGIONS

from lorkit.decompose.config import default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.lifecycle.removing import remove_region
from lorkit.decompose.methods import TrainingModule, get_method
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.expert import load_expert
from lorkit.decompose.runs.live_model import load_model
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.gradients.balancing import shared_parameters


def make(*settings: str) -> TrainingModule:
    config = default_config(overrides=[DATA, "image.size=32", "student.backbone=shufflenet_v2_x1_0", *settings])
    torch.manual_seed(0)
    return get_method("mmoe").build(config, REGIONS, None).double()


def test_all_parts_get_gradients_and_gates_those_of_their_region() -> None:
    module = make()
    data = routed_batch()
    total(module(data, None)).backward()
    without = [name for name, value in module.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without
    module.zero_grad(set_to_none=True)
    data = routed_batch((0, 0, 0))
    total(module(data, None)).backward()
    owned = module.region_parameters()
    assert all(value.grad is not None and value.grad.any() for value in owned["a"])
    assert all(value.grad is None for value in owned["b"])
    assert len(owned["a"]) == len(owned["b"]) == 4  # weight and bias of gate and head
    assert {id(value) for value in shared_parameters(module)} == {id(x) for x in module.live.backbone.parameters()}


def test_a_single_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match=r"mmoe\.experts"):
        default_config(overrides=[DATA, "mmoe.experts=1"])


@pytest.mark.usefixtures("without_program")
def test_experts_of_a_run_are_extracted_and_a_region_is_removed(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs" / "mixed", method="mmoe", name="mixed")
    (found,) = extract(run, region="knee")
    expert = load_expert(found.path)
    assert expert.info.backbone == "mmoe-3:tiny"
    image = torch.rand(4, 1, 16, 16)
    with torch.no_grad():
        expected = load_model(run.path)(image, "knee").logits["knee"]
        torch.testing.assert_close(expert.network(image), expected)
    rest = open_run(remove_region(run, "chest", out=tmp_path / "runs").run)
    with torch.no_grad():
        torch.testing.assert_close(load_model(rest.path)(image, "knee").logits["knee"], expected)
