import pytest
import torch

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import MissingRuntimeError, UsageError
from lorkit.decompose.training.loop.devices import launch


def test_half_precision_on_a_cpu_is_refused_and_not_replaced() -> None:
    with pytest.raises(UsageError, match="bf16"):
        launch(TrainConfig(precision="fp16", accelerator="cpu"))


def test_more_gpus_than_there_are() -> None:
    wanted = torch.cuda.device_count() + 1
    with pytest.raises(MissingRuntimeError, match=f"asks for {wanted} CUDA"):
        launch(TrainConfig(accelerator="cuda", devices=wanted))


def test_a_cpu_is_one_process_in_the_stated_precision() -> None:
    fabric = launch(TrainConfig(accelerator="cpu", precision="bf16"))
    assert (fabric.world_size, fabric.device.type) == (1, "cpu")
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
