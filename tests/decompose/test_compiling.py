"""A compiled backbone: the same training, and no graph more when the regions' shares of a batch change."""

import os
import shutil
from collections.abc import Callable

import pytest
import torch

from lorkit.decompose.compiling import check_compiler, compiled
from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.loading import Batch
from lorkit.decompose.devices import launch
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.losses import total
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.stepping import Stepper

Make = Callable[..., TrainingModule]
MakeBatch = Callable[..., Batch]
COUNTS = ((4, 8), (5, 7), (7, 5), (9, 3), (3, 9))
needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler here")


@needs_compiler
def test_a_compiled_training_has_the_same_losses(tiny_module: Make, make_batch: MakeBatch) -> None:
    losses: list[list[float]] = []
    graphs = 0
    for on in (False, True):
        settings = TrainConfig(accelerator="cpu", compile=on, ema=0.9, optimizer="sgd", lr=0.1)
        module = tiny_module("lorkd").train()
        keys = list(module.state_dict())
        stepper = Stepper(module, settings, launch(settings), None)
        batches = [make_batch(*counts, seed=seed) for seed, counts in enumerate(COUNTS)]
        if on:
            torch._dynamo.reset()
            torch._dynamo.utils.counters.clear()
            with compiled(module.live.backbone, torch.device("cpu")):
                losses.append([float(total(stepper.step(batch, 0.1))) for batch in batches])
                assert list(module.state_dict()) == keys
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
            assert module.live.backbone._compiled_call_impl is None
        else:
            losses.append([float(total(stepper.step(batch, 0.1))) for batch in batches])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert 1 <= graphs <= 2  # the first counts, then counts that vary


def test_a_missing_compiler_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingRuntimeError, match=r"needs a C\+\+ compiler \('no-such-compiler'\)") as caught:
        launch(TrainConfig(compile=True, accelerator="cpu"))
    assert caught.value.exit_code == 5
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match="needs Triton"):
        check_compiler(torch.device("cuda"))
