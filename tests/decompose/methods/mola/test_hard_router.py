"""The hard router: one adapter an image, and gradients of every part."""

from __future__ import annotations

import pytest
import torch
from routed_models import DATA, make_routed, routed_batch

from lorkit.decompose.config import default_config
from lorkit.decompose.experts import expert_layers
from lorkit.decompose.methods import get_method
from lorkit.decompose.tasks.losses import total


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("settings", [(), ("mola.gates=stage", "mola.adapters=3", "mola.temperature=0.5")], ids=str)
def test_every_image_has_one_gate_in_training_and_after_it(settings: tuple[str, ...], training: bool) -> None:
    _, module = make_routed(*settings, method="hard-router")
    data = routed_batch()
    found = module.train(training).live.routed(data.image, data.region).gating
    assert torch.equal(found.gates, (found.scores == found.scores.amax(-1, keepdim=True)).double())


def test_all_parts_get_gradients_where_every_adapter_is_chosen() -> None:
    _, module = make_routed(method="hard-router")
    data = routed_batch(tuple(range(2)) * 8)
    with module.live.scope(data.region):
        terms = module(data, None)
        chosen = module.live.routed(data.image, data.region).gating.gates.argmax(-1)
        assert set(chosen.flatten().tolist()) == {0, 1}
        total(terms).backward()
    without = [name for name, value in module.named_parameters() if value.grad is None or not value.grad.any()]
    assert not without


def test_the_loss_of_the_task_alone_trains_the_router_as_the_softmax_would() -> None:
    settings = ("mola.twd.weight=0", "mola.region_weight=0", "mola.temperature=0.5")
    _, module = make_routed(*settings, method="hard-router")
    data = routed_batch()
    gating = module.live.gating
    seen = []
    gating.register_forward_hook(lambda one, inputs, output: seen.append(output))
    total(module(data, None)).backward(retain_graph=True)
    assert all(value.grad is not None and value.grad.any() for value in gating.router.parameters())
    # a softmax passes the gradients of gates to scores by its own derivative
    (output,) = seen
    upstream = torch.randn_like(output.gates)
    scores = output.scores.detach().requires_grad_(True)
    expected = torch.autograd.grad((2 * scores).softmax(-1), scores, upstream)[0]
    found = torch.autograd.grad(output.gates, output.scores, upstream)[0]
    torch.testing.assert_close(found, expected)


def test_an_adapter_that_no_image_chose_gets_no_gradient() -> None:
    _, module = make_routed("mola.twd.weight=0", method="hard-router")
    with torch.no_grad():
        module.live.gating.scores.bias.copy_(torch.tensor([100.0, -100.0]))
    total(module(routed_batch(), None)).backward()
    for layer in expert_layers(module.live.backbone).values():
        assert layer.up["0"].grad.any()
        assert not layer.up["1"].grad.any()


def test_another_number_of_gates_has_no_effect_and_is_said() -> None:
    config = default_config(overrides=[DATA, "mola.top_k=2"])
    assert "mola.top_k 2 has no effect" in get_method("hard-router").notices(config)[0]
    assert not get_method("mola-router").notices(config)
