from __future__ import annotations

import pytest

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.training.loop.checkpoints import Progress
from lorkit.decompose.training.loop.early_stopping import patience_notices, stop_reason


@pytest.mark.parametrize(
    ("done", "best_epoch", "patience", "stops"),
    [
        (4, 1, 2, True),
        (3, 1, 2, False),
        (2, 1, 1, False),  # the last epoch is the best
        (3, 1, 1, True),
        (4, 1, None, False),
        (10, 1, 2, False),  # ends by itself
        (0, -1, 1, False),
    ],
)
def test_a_training_stops_after_so_many_epochs_without_a_better_one(
    done: int, best_epoch: int, patience: int | None, stops: bool
) -> None:
    progress = Progress(epochs_done=done, best_epoch=best_epoch, best=0.5)
    assert (stop_reason(progress, TrainConfig(epochs=10, patience=patience)) is not None) == stops


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
@pytest.mark.parametrize("patience", [None, 1, 2, 4, 9])
def test_a_patience_is_told_that_no_training_can_exhaust(epochs: int, patience: int | None) -> None:
    settings = TrainConfig(epochs=epochs, patience=patience)
    stops = [
        stop_reason(Progress(epochs_done=done, best_epoch=best, best=0.5), settings)
        for done in range(1, epochs + 1)
        for best in range(done)
    ]
    assert bool(patience_notices(settings)) == (patience is not None and not any(stops))
