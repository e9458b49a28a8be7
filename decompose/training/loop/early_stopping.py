"""When a training ends before its last epoch: validation has not improved for `train.patience` epochs."""

from __future__ import annotations

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.errors import plural
from lorkit.decompose.training.loop.checkpoints import Progress


def patience_notices(settings: TrainConfig) -> list[str]:
    """Return a notice on a patience that no training of so many epochs can exhaust: the first epoch may be the best."""
    if settings.patience is None or settings.patience < settings.epochs - 1:
        return []
    return [f"train.patience {settings.patience} has no effect on {plural(settings.epochs, 'epoch')}"]


def stop_reason(progress: Progress, settings: TrainConfig) -> str | None:
    """Return why a training stops after its last finished epoch; None if it continues, or ends by itself.

    It is a function of what a checkpoint stores, so a resumed training stops at the same epoch.
    """
    done, patience = progress.epochs_done, settings.patience
    if patience is None or done >= settings.epochs or done - 1 - progress.best_epoch < patience:
        return None
    return (
        f"stopped after epoch {done} of {settings.epochs}: no better validation score than {progress.best:.3f} of "
        f"epoch {progress.best_epoch + 1} in {plural(patience, 'epoch')} (train.patience)"
    )
