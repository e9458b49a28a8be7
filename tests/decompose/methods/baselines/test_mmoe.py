"""MMoE: gates by region, gradients of every part, and a network of one region that can be rebuilt by name."""

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
from lorkit.decompose.models.foundation.model import load_strict
from lorkit.decompose.runs import Run, open_run
from lorkit.decompose.runs.expert import load_expert, plain_network
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


def test_a_mixed_batch_goes_through_the_gate_and_head_of_each_sample() -> None:
    live = make().eval().live
    data = routed_batch()
    with torch.no_grad():
        output = live(data.image, data.region)
        x = live.normalise(data.image)
        for n, region in enumerate(data.region.tolist()):
            name = REGIONS.names[region]
            weights = live.gates[name](x[n].flatten()).softmax(0)
            features = sum(weights[k] * live.backbone[k](x[n : n + 1]) for k in range(3))
            torch.testing.assert_close(output.features[n : n + 1], features)
            at = output.rows[name].tolist().index(n)
            torch.testing.assert_close(output.logits[name][at : at + 1], live.heads[name](features))
        assert not torch.equal(live.features(data.image, "a"), live.features(data.image, "b"))


def test_the_network_of_a_region_is_rebuilt_from_its_name() -> None:
    live = make("mmoe.experts=2").eval().live
    config = default_config(overrides=[DATA, "student.backbone=shufflenet_v2_x1_0", "mmoe.experts=2"])
    backbone = get_method("mmoe").deployed_backbone(config)
    assert backbone == "mmoe-2:shufflenet_v2_x1_0"
    network = live.deployable("b")
    fresh = plain_network(backbone, channels=1, size=(32, 32), region=REGIONS.get("b")).double().eval()
    load_strict(fresh, network.network.state_dict(), Path("x"))
    image = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fresh(live.normalise(image)), live(image, "b").logits["b"])
        torch.testing.assert_close(network(image), live(image, "b").logits["b"])


def test_soft_gates_of_regions_and_a_single_encoder_are_refused() -> None:
    data = routed_batch()
    with pytest.raises(UsageError, match="soft gates"):
        make().live.features(data.image, torch.ones(5, 2))
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
