"""RD and DRD on maps and volumes: the formulas in plain float64, who learns from what, and what is refused early."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reprogramming_pairs import MAPS, make_pair, settings
from torch import Tensor

from lorkit.decompose.config import Config
from lorkit.decompose.data import PreparedRegion
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.methods.reprogramming.drd import DeepReprogramming
from lorkit.decompose.models.backbones.stage_adapters import injection_context, staged
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.epochs import fit
from lorkit.decompose.training.loop.phase import Phase


def batch_of(config: Config, count: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(count, config.image.channels, *config.image.size, generator=generator, dtype=torch.float64)
    label = torch.randint(3, (count, *config.image.size), generator=generator)
    return Batch(image=image, label=label, region=torch.zeros(count, dtype=torch.int64), sample=torch.arange(count))


def dice_and_entropy(z: Tensor, y: Tensor) -> Tensor:
    p, one = F.softmax(z, 1), F.one_hot(y, z.shape[1]).movedim(-1, 1).double()
    axes = tuple(range(2, z.dim()))
    both, sums = (p * one).sum(axes), p.sum(axes) + one.sum(axes)
    dice = 1 - (2 * both + 1e-5) / (sums + 1e-5)
    return dice[:, 1:].mean(1) - (one * p.log()).sum(1).flatten(1).mean(1)


def alignment(x: Tensor, y: Tensor) -> Tensor:
    """Return -CKA over the places of all images, as the ratio of norms that papers print."""
    a, b = (side.movedim(1, -1).flatten(0, -2) for side in (x, y))
    a, b = a - a.mean(0), b - b.mean(0)
    return -(b.mT @ a).square().sum() / ((a.mT @ a).norm() * (b.mT @ b).norm())


@pytest.mark.parametrize(
    ("method", "student", "teacher", "skips"),
    [
        ("rd", "dynunet", "segresnet", "student"),
        ("drd", "dynunet", "segresnet", "student"),
        ("drd", "segresnet", "dynunet", "reprogrammed"),
        ("drd", "dynunet", "vit_tiny", "zero"),
    ],
)
def test_values_and_gradients_on_maps_are_those_of_the_formulas(
    method: str, student: str, teacher: str, skips: str
) -> None:
    config = settings(f"rd.skips={skips}", "rd.kd.temperature=2", "rd.decay=linear", student=student, teacher=teacher)
    module, foundation = make_pair(method, config)
    module.progress = 0.25
    given = batch_of(config)
    with torch.no_grad():
        answers = module.query_teacher(foundation.model, given)
    values = [value for value in module.parameters() if value.requires_grad]
    found = module(given, answers)
    gradients = torch.autograd.grad(total(found), values, allow_unused=True)

    head, network = module.live.heads["a"], staged(module.live.backbone)
    x = module.live.normalise(given.image)
    walk = network.run_stages(x)
    if isinstance(module, DeepReprogramming):
        r = [phi(grid) for phi, grid in zip(module.phis, answers.grids, strict=True)]
        z = [head(network.forward_from(i, r[i], injection_context(walk, i, r, skips))) for i in range(4)]
        own = walk.grids
    else:
        r = [module.phis[0](answers.features)]
        z, own = [head(r[0])], [walk.features]
    z_s, kd = head(walk.features), torch.zeros((), dtype=torch.float64)
    for one in z:
        p, q = F.softmax(one.detach() / 2, 1), F.softmax(z_s / 2, 1)
        kd = kd + 4 * (p * (p.log() - q.log())).sum(1).mean()
    wanted = {
        "ce": dice_and_entropy(z_s, given.label).mean(),
        "hybrid": 0.75 * torch.stack([dice_and_entropy(one, given.label).mean() for one in z]).sum(),
        "kd": 0.75 * kd,
        "cka": torch.stack([alignment(s, t) for s, t in zip(own, r, strict=True)]).sum(),
    }
    assert {name: float(term["a"].detach()) for name, term in found.items()} == pytest.approx(
        {name: float(value.detach()) for name, value in wanted.items()}, abs=1e-9
    )
    expected = torch.autograd.grad(torch.stack(list(wanted.values())).sum(), values, allow_unused=True)
    for got, want in zip(gradients, expected, strict=True):
        assert (got is None) == (want is None)
        if got is not None and want is not None:
            torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def prepared_maps(config: Config, count: int) -> PreparedRegion:
    generator = np.random.default_rng(0)
    masks = generator.integers(0, 3, (count, *config.image.size)).astype(np.uint8)
    return PreparedRegion(
        region=MAPS[0],
        recipe=build_recipe(config.image, config.regions["a"]),
        stored=(masks[:, None] / 2 + generator.normal(0, 0.1, (count, 1, *config.image.size))).astype(np.float32),
        labels=np.zeros(count, dtype=np.int64),
        groups=tuple(map(str, range(count))),
        ids=tuple(map(str, range(count))),
        digests=tuple(map(str, range(count))),
        masks=masks,
    )


def test_training_on_maps_resumes_with_the_same_bits_and_leaves_the_teacher_alone(tmp_path: Path) -> None:
    config = settings(
        "train.epochs=2", "train.batch_size=4", "train.precision=fp32", student="dynunet", teacher="shufflenet_v2_x1_0"
    )
    parts = prepared_maps(config, 8)

    def run(directory: Path, *, stop: bool = False, resume: bool = False) -> tuple[dict[str, Tensor], Foundation]:
        module, foundation = make_pair("drd", config, MAPS, torch.float32)
        phase = Phase(
            name="a",
            regions=MAPS,
            train={"a": parts},
            val={"a": parts},
            settings=config.train,
            seed=0,
            directory=directory,
        )
        before = {key: value.clone() for key, value in foundation.model.state_dict().items()}
        events = fit(module, phase, launch(config.train), teachers=[foundation], resume=resume)
        for event in events:
            if stop and type(event).__name__ == "Saved":
                break
        after = foundation.model.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items()), "its buffers never move"
        assert all(value.grad is None for value in foundation.model.parameters())
        return {key: value.clone() for key, value in module.state_dict().items()}, foundation

    whole, _ = run(tmp_path / "whole")
    run(tmp_path / "broken", stop=True)
    resumed, _ = run(tmp_path / "broken", resume=True)
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())


@pytest.mark.parametrize("method", ["rd", "drd"])
def test_the_weight_decay_of_reprogrammers_is_that_of_rd(method: str) -> None:
    config = settings(student="dynunet", teacher="segresnet")
    module, _ = make_pair(method, config)
    groups = module.parameter_groups(config.train)
    plain = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
    assert set(plain.values()) == {0.0, config.train.weight_decay}
    module.settings = module.settings.model_copy(update={"weight_decay": 3.0})
    groups = module.parameter_groups(config.train)
    found = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
    own = {id(one) for phi in module.phis for one in phi.parameters() if one.dim() > 1}
    assert own
    assert found == {key: 3.0 if key in own else value for key, value in plain.items()}
    assert sum(len(group["params"]) for group in groups) == len(found)
