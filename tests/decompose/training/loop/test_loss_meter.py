import pytest
import torch

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import DataError
from lorkit.decompose.tasks.losses import Terms
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.loop.loss_meter import LossMeter, PendingLosses


def step(values: Terms, counts: dict[str, int], number: int = 0) -> PendingLosses:
    return PendingLosses.of(values, counts, 0, number)


def test_means_are_over_the_samples_of_each_region() -> None:
    meter = LossMeter()
    # per-sample losses: a: 1, 3 | 5; b: 2 | 4, 6
    first = meter.add(step({"ce": {"a": torch.tensor(4 / 3), "b": torch.tensor(2 / 3)}}, {"a": 2, "b": 1}))
    assert first["ce"] == pytest.approx(2.0)
    meter.add(step({"ce": {"a": torch.tensor(5 / 3), "b": torch.tensor(10 / 3)}}, {"a": 1, "b": 2}))
    means = meter.means(launch(TrainConfig(accelerator="cpu")))
    assert means["ce"] == pytest.approx({"a": 3.0, "b": 4.0})
    assert meter.images == 6


def test_a_bad_term_is_named_with_its_step() -> None:
    terms = {"ce": {"a": torch.tensor(1.0)}, "kd": {"a": torch.tensor(float("nan"))}}
    with pytest.raises(DataError, match=r"epoch 1, step 4: kd of region 'a';"):
        LossMeter().add(step(terms, {"a": 1}, 3))
