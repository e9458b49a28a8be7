"""Cosines against gradients that are computed here, and a measurement that leaves no trace."""

from collections.abc import Callable

import pytest
import torch

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.tasks.losses import cross_entropy
from lorkit.decompose.training.gradients.conflict import gradient_conflict

Make = Callable[..., TrainingModule]
MakeBatch = Callable[..., Batch]


def by_hand(module: TrainingModule, batches: list[Batch], layers: tuple[str, ...]) -> float:
    """Return the cosine of a's and b's gradients on some layers, image by image."""
    names = [name for name, _ in module.live.backbone.named_parameters() if name.startswith(layers)]
    chosen = [module.live.backbone.get_parameter(name) for name in names]
    rows = []
    for index, region in enumerate(("a", "b")):
        losses = []
        for batch in batches:
            for n in (batch.region == index).nonzero().flatten():
                logits = module.live(batch.image[n : n + 1], region).logits[region]
                losses.append(cross_entropy(logits, batch.label[n : n + 1]).sum())
        found = torch.autograd.grad(torch.stack(losses).mean(), chosen)
        rows.append(torch.cat([value.flatten() for value in found]))
    return float(torch.nn.functional.cosine_similarity(rows[0], rows[1], dim=0))


@pytest.mark.parametrize(("method", "base"), [("lorkd", "base."), ("mtl", "")])
def test_cosines_are_those_of_the_gradients(tiny_module: Make, make_batch: MakeBatch, method: str, base: str) -> None:
    module = tiny_module(method).eval()
    batches = [make_batch(3, 5, seed=1), make_batch(4, 2, seed=2)]
    found = gradient_conflict(module, batches)
    layers = ("stem", "blocks.0.conv", "blocks.1.conv")
    for layer in layers:
        expected = by_hand(module, batches, (f"{layer}.{base}",))
        assert found.layers[layer]["a", "b"] == pytest.approx(expected, abs=1e-4)
    if method == "lorkd":  # norms belong to regions: nothing else is shared
        assert tuple(found.layers) == layers
        assert found.overall["a", "b"] == pytest.approx(
            by_hand(module, batches, tuple(f"{x}.{base}" for x in layers)), abs=1e-4
        )
    else:
        assert "norm" in found.layers
        assert found.overall["a", "b"] == pytest.approx(by_hand(module, batches, ("",)), abs=1e-4)
    assert found.mean == found.overall["a", "b"]


def test_regions_with_the_same_images_agree(tiny_module: Make, make_batch: MakeBatch) -> None:
    module = tiny_module("mtl")
    with torch.no_grad():
        for region in ("a", "b"):
            module.live.heads[region].weight.fill_(0)
            module.live.heads[region].bias.fill_(0)
            module.live.heads[region].weight[0].fill_(1.0 if region == "a" else -1.0)
    batch = make_batch(4, 4)
    same = batch._replace(image=batch.image[:4].repeat(2, 1, 1, 1), label=torch.zeros(8, dtype=torch.long))
    assert gradient_conflict(module, [same]).mean == pytest.approx(-1, abs=1e-2)  # heads of opposite sign
    with torch.no_grad():
        module.live.heads["b"].weight[0].fill_(1.0)
    assert gradient_conflict(module, [same]).mean == pytest.approx(1, abs=1e-2)


def test_the_measurement_leaves_no_trace(tiny_module: Make, make_batch: MakeBatch) -> None:
    module = tiny_module("lorkd").train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state()
    gradient_conflict(module, [make_batch(4, 4)])
    assert module.training
    assert all(value.grad is None for value in module.parameters())
    assert torch.equal(random, torch.get_rng_state())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_region_without_samples_has_no_cosine(tiny_module: Make, make_batch: MakeBatch) -> None:
    found = gradient_conflict(tiny_module("lorkd"), [make_batch(4, 0)])
    assert found.overall == {}
    assert found.mean is None
