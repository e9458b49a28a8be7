"""Layer-wise rates against one SGD step without them, and a frozen backbone bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lorkit.decompose import extract, open_run, train
from lorkit.decompose.config import Config, TrainConfig, default_config
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import UsageError
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.training.gradients.balancing import BalancedBackward
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.fine_tuning import BackboneFreezing, check_fine_tuning
from lorkit.decompose.training.loop.step import OptimizerStep

Make = Callable[..., TrainingModule]
MakeBatch = Callable[..., Batch]
EXPERTS = (".up.", ".down.", ".kernel.")


def stepper(module: TrainingModule, **settings: object) -> OptimizerStep:
    plain = {"accelerator": "cpu", "optimizer": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0}
    train = TrainConfig.model_validate({**plain, **settings})
    return OptimizerStep(module, train, launch(train))


def tensors(made: OptimizerStep) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in made.module.state_dict().items()}


def power(name: str) -> int:
    """Say how often the decay counts for a parameter of a ResNet of four layers, from its name."""
    if not name.startswith("live.backbone.") or any(part in name for part in EXPERTS):
        return 0
    return next((4 - layer for layer in range(4) if f"layer{layer + 1}." in name), 4)


@pytest.mark.parametrize("method", ["mtl", "lorkd", "mola-router", "mmoe"])
@pytest.mark.parametrize("norm", ["region", "statistics", "shared"])
def test_rates_decay_from_head_to_stem(tiny_module: Make, make_batch: MakeBatch, method: str, norm: str) -> None:
    if norm != "region" and method != "lorkd":
        pytest.skip("has no norms of regions")
    moved: dict[float | None, dict[str, torch.Tensor]] = {}
    for decay in (None, 0.5):
        # 64 bits: the steps are small beside the weights
        module = tiny_module(method, f"lorkd.norm={norm}", "train.augment=null", backbone="tiny_resnet").double()
        made = stepper(module, layer_decay=decay)
        before = tensors(made)
        made.start_epoch(0)
        batch = make_batch(5, 7)
        made.step(batch._replace(image=batch.image.double()), 0.1)
        moved[decay] = {name: value - before[name] for name, value in tensors(made).items()}
    powers = set()
    for name, _ in made.module.named_parameters():
        expected = moved[None][name] * 0.5 ** power(name)
        torch.testing.assert_close(moved[0.5][name], expected, rtol=1e-6, atol=1e-12, msg=name)
        powers.add(power(name))
    assert powers == {0, 1, 2, 3, 4}


def test_rates_of_the_factors_are_kept(tiny_module: Make) -> None:
    module = tiny_module("lorkd", "lorkd.factor_lr_ratio=3", backbone="tiny_resnet")
    made = stepper(module, layer_decay=0.5)
    factors = {id(value) for name, value in module.named_parameters() if any(part in name for part in EXPERTS)}
    ratios = {id(one): group["lr_ratio"] for group in made.optimizer.param_groups for one in group["params"]}
    assert len(ratios) == len(list(module.parameters()))
    assert {ratio for one, ratio in ratios.items() if one in factors} == {3}
    assert {ratio for one, ratio in ratios.items() if one not in factors} == {1, 0.5, 0.25, 0.125, 0.0625}


def test_unknown_stages_are_refused_in_one_line(tiny_module: Make) -> None:
    module = tiny_module("mtl")
    with pytest.raises(UsageError, match=r"^train\.layer_decay for a TinyBackbone, whose stages are unknown") as caught:
        check_fine_tuning(module, TrainConfig(layer_decay=0.5))
    assert "\n" not in str(caught.value)
    check_fine_tuning(module, TrainConfig())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["mtl", "lorkd", "mola-router"])
def test_a_frozen_backbone_keeps_its_bits_and_the_rest_learns(
    tiny_module: Make, make_batch: MakeBatch, method: str, optimizer: str
) -> None:
    module = tiny_module(method, backbone="tiny_resnet")
    made = stepper(module, freeze_epochs=1, optimizer=optimizer, momentum=0.9, weight_decay=0.1, ema=0.9)
    before = tensors(made)
    frozen = {name for name in before if name.startswith("live.backbone.") and not any(x in name for x in EXPERTS)}
    made.start_epoch(0)
    for seed in range(2):
        made.step(make_batch(6, 6, seed=seed), 0.1)
    for name, value in tensors(made).items():
        assert torch.equal(value, before[name]) == (name in frozen or name.startswith("live.normalise")), name
    averaged = made.evaluated_module.state_dict()
    assert all(torch.equal(averaged[name], before[name]) for name in frozen)
    made.start_epoch(1)
    made.step(make_batch(6, 6), 0.1)
    assert not [name for name in frozen if torch.equal(tensors(made)[name], before[name])]


def test_processes_that_share_gradients_freeze_to_the_same_weights(tiny_module: Make, make_batch: MakeBatch) -> None:
    """Several processes compute the gradients of frozen weights, one does not; both leave them out."""
    ends = []
    for processes in (1, 2):
        made = stepper(tiny_module("lorkd", backbone="tiny_resnet"), freeze_epochs=1, momentum=0.9, clip_norm=0.01)
        made.freezing = BackboneFreezing(made.module, made.settings, processes)
        for epoch in range(2):
            made.start_epoch(epoch)
            needs = [value.requires_grad for value in made.module.backbone_parameters().values()]
            assert bool(needs) == (processes == 2 or epoch == 1)
            made.step(make_batch(6, 6, seed=epoch), 0.1)
        ends.append(tensors(made))
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_balancer_waits_for_the_shared_weights(tiny_module: Make, make_batch: MakeBatch) -> None:
    pytest.importorskip("torchjd")
    made = stepper(tiny_module("mtl", "train.balancer=pcgrad", backbone="tiny_resnet"), freeze_epochs=1)
    made.start_epoch(0)
    assert not isinstance(made.backward, BalancedBackward)
    made.step(make_batch(6, 6), 0.1)
    made.start_epoch(1)
    assert isinstance(made.backward, BalancedBackward)
    made.step(make_batch(6, 6), 0.1)


def test_the_end_releases_the_backbone(tiny_module: Make) -> None:
    made = stepper(tiny_module("mtl", backbone="tiny_resnet"), freeze_epochs=3)
    made.start_epoch(0)
    assert not made.module.backbone_parameters()
    made.close()
    assert len(made.module.backbone_parameters()) == len(list(made.module.live.backbone.parameters()))


def test_more_frozen_epochs_than_epochs_are_refused() -> None:
    with pytest.raises(UsageError, match=r"train\.freeze_epochs up to train\.epochs \(2\), not 3"):
        default_config(overrides=["train.epochs=2", "train.freeze_epochs=3"])


@pytest.mark.usefixtures("without_program")
@pytest.mark.parametrize("method", ["stl", "lorkd"])
def test_regions_with_one_frozen_start_are_extracted(
    configured: Callable[..., Config], tmp_path: Path, method: str
) -> None:
    """Separate students of one seed have the same backbone until it is trained."""
    settings = {"train.freeze_epochs": 1, "train.epochs": 1, "lorkd.rank": 2}
    run = open_run(train(configured(tmp_path, method=method, **settings), out=tmp_path / "runs").run)
    extract(run, region="chest")
    assert (run.experts_dir / "chest" / "expert.json").is_file()
