from __future__ import annotations

import pytest
from torch import nn

from lorkit.decompose import machine
from lorkit.decompose.config import ExpertConfig, default_config
from lorkit.decompose.errors import UsageError
from lorkit.decompose.experts import add_experts_
from lorkit.decompose.training import memory


@pytest.fixture(autouse=True)
def _free(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (machine, memory):
        monkeypatch.setattr(module, "available_bytes", lambda: 2**30)


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does() -> None:
    small = default_config(overrides=["train.batch_size=1000"])
    memory.check_batch(small)
    config = default_config(overrides=["train.batch_size=1000000"])  # 1 x 32 x 32 float32, twice
    with pytest.raises(UsageError) as caught:
        memory.check_batch(config)
    message = str(caught.value)
    assert "train.batch_size 1000000 with inputs of 1 x 32 x 32, which needs 7.63 GiB" in message
    assert "at most the 1 GiB of memory that are free" in message
    fits = int(message.split("set train.batch_size to ")[1].split()[0])
    memory.check_batch(default_config(overrides=[f"train.batch_size={fits}"]))
    memory.check_batch(default_config(overrides=["train.batch_size=1000000", "train.accumulate=100"]))


def test_the_larger_images_of_a_foundation_count() -> None:
    settings = ["train.batch_size=10000", "foundation={image: {size: 512, channels: 1}}"]
    with pytest.raises(UsageError, match="inputs of 1 x 512 x 512"):
        memory.check_batch(default_config(overrides=settings))


def test_gradients_and_moments_of_trainable_weights_have_to_fit() -> None:
    network = nn.Linear(10_000, 10_000, bias=False)  # 0.37 GiB
    adamw, sgd = (default_config(overrides=[f"train.optimizer={name}"]) for name in ("adamw", "sgd"))
    memory.check_trained(network, sgd)
    with pytest.raises(UsageError, match=r"training 100,000,000 weights of method lorkd, which needs 1\.12 GiB"):
        memory.check_trained(network, adamw)
    memory.check_trained(network.requires_grad_(False), adamw)


def test_factors_that_do_not_fit_are_refused_before_they_are_made() -> None:
    network = nn.Sequential(nn.Linear(4000, 4000), nn.ReLU())
    with pytest.raises(UsageError, match=r"experts of rank 4096 in 10 regions, which needs 1\.22 GiB"):
        add_experts_(network, [f"r{at}" for at in range(10)], ExpertConfig(rank=4096))
    assert type(network[0]) is nn.Linear
