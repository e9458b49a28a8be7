"""A compiled backbone: the same training, and no graph more when the regions' shares of a batch change."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pytest
import torch

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.decompose.methods import TrainingModule
from lorkit.decompose.tasks.losses import total
from lorkit.decompose.training.loop.compiling import check_compiler, compiled
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.step import OptimizerStep

Make = Callable[..., TrainingModule]
MakeBatch = Callable[..., Batch]
COUNTS = ((4, 8), (5, 7), (7, 5), (9, 3), (3, 9))
needs_compiler = pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler here")


def losses_of(module: TrainingModule, batches: list[Batch], *, on: bool, **settings: object) -> list[float]:
    train = TrainConfig(**{"accelerator": "cpu", "compile": on, "optimizer": "sgd", **settings})  # type: ignore[arg-type]
    stepper = OptimizerStep(module.train(), train, launch(train))
    keys = list(module.state_dict())
    with compiled(module.live, torch.device("cpu")) if on else nullcontext():
        losses = [float(total(stepper.step(batch, 0.1))) for batch in batches]
        assert list(module.state_dict()) == keys
    assert module.live.backbone._compiled_call_impl is None
    return losses


@pytest.mark.slow
@needs_compiler
@pytest.mark.usefixtures("one_layer")
def test_a_compiled_training_has_the_same_losses(tiny_module: Make, make_batch: MakeBatch) -> None:
    batches = [make_batch(4, 4, seed=seed) for seed in range(3)]
    expected = losses_of(tiny_module("lorkd", backbone="one"), batches, on=False, ema=0.9)
    found = losses_of(tiny_module("lorkd", backbone="one"), batches, on=True, ema=0.9)
    assert found == pytest.approx(expected, rel=1e-5)
    assert found[-1] != found[0]


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the compiler looks at it where sizes vary
def test_shares_of_regions_that_vary_need_no_further_graph(
    tiny_module: Make, make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's front alone, which decides how many graphs there are and takes no C++ compiler."""
    batches = [make_batch(*counts, seed=seed) for seed, counts in enumerate(COUNTS)]
    expected = losses_of(tiny_module("lorkd"), batches, on=False)
    module = tiny_module("lorkd")
    monkeypatch.setattr(module.live.backbone, "compile", partial(module.live.backbone.compile, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    assert losses_of(module, batches, on=True) == pytest.approx(expected, rel=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2  # the first counts, then counts that vary


def test_a_missing_compiler_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(MissingRuntimeError, match=r"needs a C\+\+ compiler \('no-such-compiler'\)") as caught:
        launch(TrainConfig(compile=True, accelerator="cpu"))
    assert caught.value.exit_code == 5
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingRuntimeError, match="needs Triton"):
        check_compiler(torch.device("cuda"))
