"""The one training loop, on Lightning Fabric: it yields events and draws nothing.

A step opens the routing scope, runs forward and backward inside it, and clears it. The order of samples, their
augmentation and the learning rate are functions of (seed, epoch, step), so a resumed run ends with the same bits.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric

from lorkit.decompose.checkpoints import Checkpoints, Progress
from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.loading import Batch, BatchLoader, eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.errors import DataError, MissingRuntimeError
from lorkit.decompose.events import Event, Finished, Saved, Started, Step, Validated
from lorkit.decompose.losses import Terms, total
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.regions import RegionSet

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training: which regions, on which samples, for how long, and where its checkpoints lie."""

    name: str
    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    settings: TrainConfig
    seed: int
    directory: Path


def launch(settings: TrainConfig) -> Fabric:
    """Start Fabric for the configured devices.

    Raises:
        MissingRuntimeError: A CUDA device was asked for and there is none.
    """
    if settings.accelerator == "cuda" and not torch.cuda.is_available():
        raise MissingRuntimeError(
            "train.accelerator is cuda and no CUDA device is here",
            required="a CUDA GPU and a CUDA build of torch",
            fix="set train.accelerator to auto or cpu",
        )
    accelerator = "cuda" if settings.accelerator == "auto" and torch.cuda.is_available() else settings.accelerator
    fabric = Fabric(
        accelerator="cpu" if accelerator == "auto" else accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=cast(Any, _PRECISION[settings.precision]),
    )
    fabric.launch()
    return fabric


def fit(
    module: TrainingModule, phase: Phase, fabric: Fabric, *, foundation: Foundation | None = None, resume: bool = False
) -> Iterator[Event]:
    """Train one phase; afterwards `module` holds the weights of the epoch that validated best.

    Args:
        module: What is trained, on the CPU; it is changed in place.
        phase: Regions, samples and budget.
        fabric: A launched Fabric.
        foundation: The frozen teacher where the method needs one.
        resume: Continue from the newest checkpoint of the phase where there is one.

    Yields:
        Started, then Steps, a Validated and a Saved an epoch, then Finished.

    Raises:
        DataError: A loss is not finite; term, region, epoch and step are named.
        ArtifactError: The checkpoint to resume from is damaged.
    """
    started = time.perf_counter()
    trainer = _Trainer(module, phase, fabric, foundation)
    checkpoints = Checkpoints(phase.directory)
    if resume and checkpoints.exists:
        trainer.restore(*checkpoints.load())
    progress = trainer.progress
    yield Started(
        phase=phase.name,
        epochs=phase.settings.epochs,
        steps=len(trainer.loader),
        first_epoch=progress.epochs_done,
        parameters=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
    )
    for epoch in range(progress.epochs_done, phase.settings.epochs):
        yield from trainer.epoch(epoch)
        if fabric.global_rank == 0:
            best = module.state_dict() if progress.best_epoch == epoch else None
            path = checkpoints.save(trainer.state(), best, progress)
            yield Saved(phase=phase.name, epoch=epoch, path=str(path))
        fabric.barrier()
    module.load_state_dict(checkpoints.load_best())
    module.eval()
    yield Finished(
        phase=phase.name,
        best_epoch=progress.best_epoch,
        best=progress.best,
        seconds=time.perf_counter() - started,
    )


class _Trainer:
    """State of one phase between epochs."""

    def __init__(self, module: TrainingModule, phase: Phase, fabric: Fabric, foundation: Foundation | None) -> None:
        self.phase, self.fabric, self.module = phase, fabric, module
        self.settings = phase.settings
        self.loader = BatchLoader(
            phase.train,
            phase.regions,
            batch_size=self.settings.batch_size,
            sampling=self.settings.sampling,
            seed=phase.seed,
            augment=self.settings.augment,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = _optimizer(module, self.settings)
        self.wrapped, self.optimizer = fabric.setup(module, optimizer)
        self.teacher = _frozen(foundation, fabric)
        self.progress = Progress()
        self._process = psutil.Process()
        self._began = time.perf_counter()
        self._first = 0

    def state(self) -> dict[str, Any]:
        """Return everything that a resume needs besides the settings."""
        return {"module": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any], progress: Progress) -> None:
        """Go back to a saved state."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress, self._first = progress, progress.epochs_done

    def epoch(self, epoch: int) -> Iterator[Event]:
        """Train one epoch and validate it."""
        began = time.perf_counter()
        sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.loader.set_epoch(epoch)
        self.wrapped.train()
        images = 0
        for step, batch in enumerate(self.loader):
            terms = self._step(batch, epoch, step)
            losses = {name: {region: float(value) for region, value in row.items()} for name, row in terms.items()}
            for name, row in losses.items():
                for region, value in row.items():
                    sums[name][region] += value / len(self.loader)
            images += len(batch.label) * self.fabric.world_size
            yield self._report(epoch, step, losses, images / (time.perf_counter() - began))
        seconds = time.perf_counter() - began
        yield self._validate(epoch, {name: dict(row) for name, row in sums.items()}, images / seconds, seconds)

    def _step(self, batch: Batch, epoch: int, step: int) -> Terms:
        batch = Batch(*(self.fabric.to_device(tensor) for tensor in batch))
        image = batch.image.contiguous(memory_format=torch.channels_last)
        batch = batch._replace(image=image)
        rate = learning_rate(self.settings, epoch * len(self.loader) + step, len(self.loader))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        teacher = self._ask_teacher(batch)
        with self.module.live.scope(batch.region):  # through backward: checkpointing runs the forward again there
            terms: Terms = self.wrapped(batch, teacher)
            loss = total(terms)
            if not bool(torch.isfinite(loss)):
                raise _not_finite(terms, epoch, step)
            self.fabric.backward(loss)
        if self.settings.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # None, not zero: momentum must not move absent regions
        return terms

    def _ask_teacher(self, batch: Batch) -> RegionalOutput | None:
        if self.teacher is None:
            return None
        with torch.no_grad(), self.fabric.autocast():
            return cast(RegionalOutput, self.teacher(batch.image, batch.region))

    def _report(self, epoch: int, step: int, losses: Mapping[str, Mapping[str, float]], rate: float) -> Step:
        steps = len(self.loader)
        done = (epoch - self._first) * steps + step + 1
        left = (self.settings.epochs - self._first) * steps - done
        return Step(
            phase=self.phase.name,
            epoch=epoch,
            epochs=self.settings.epochs,
            step=step,
            steps=steps,
            losses={name: sum(row.values()) for name, row in losses.items()},
            images_per_second=rate,
            loader_images_per_second=self.loader.images_per_second,
            eta_s=(time.perf_counter() - self._began) / done * left,
            memory_mib=self._process.memory_info().rss / 2**20,
        )

    def _validate(self, epoch: int, losses: dict[str, dict[str, float]], rate: float, seconds: float) -> Validated:
        self.wrapped.eval()
        with self.fabric.autocast():
            scores = {
                name: validation_score(self.module.live, self.phase.val[name], name, self.fabric.device)
                for name in self.phase.regions.names
            }
        mean = sum(scores.values()) / len(scores)
        best = mean > self.progress.best  # a tie keeps the earlier epoch
        if best:
            self.progress.best, self.progress.best_epoch = mean, epoch
        self.progress.epochs_done = epoch + 1
        self.progress.history.append(
            {
                "phase": self.phase.name,
                "epoch": epoch,
                "loss": losses,
                "val": {"balanced_accuracy": scores, "mean": mean},
                "lr": learning_rate(self.settings, (epoch + 1) * len(self.loader) - 1, len(self.loader)),
                "seconds": round(seconds, 3),
                "images_per_second": round(rate, 1),
                "loader_images_per_second": round(self.loader.images_per_second, 1),
            }
        )
        return Validated(
            phase=self.phase.name,
            epoch=epoch,
            epochs=self.settings.epochs,
            balanced_accuracy=scores,
            mean=mean,
            best=best,
            losses=losses,
            images_per_second=rate,
            loader_images_per_second=self.loader.images_per_second,
        )


def learning_rate(settings: TrainConfig, step: int, steps: int) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to zero over the whole budget, or constant."""
    warm = settings.warmup_epochs * steps
    if step < warm:
        return settings.lr * (step + 1) / (warm + 1)
    if settings.schedule == "constant":
        return settings.lr
    share = (step - warm) / max(1.0, settings.epochs * steps - warm)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


@torch.no_grad()
def validation_score(model: RegionalModel, prepared: PreparedRegion, region: str, device: torch.device) -> float:
    """Return the balanced accuracy of a region's validation part: the mean recall of the classes that are there."""
    predicted = torch.cat(
        [model(image.to(device), region).logits[region].argmax(1).cpu() for image, _ in eval_batches(prepared)]
    ).numpy()
    hit = predicted == prepared.labels
    return float(np.mean([hit[prepared.labels == label].mean() for label in np.unique(prepared.labels)]))


def _optimizer(module: TrainingModule, settings: TrainConfig) -> torch.optim.Optimizer:
    groups = [group for group in module.parameter_groups(settings) if group["params"]]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


def _frozen(foundation: Foundation | None, fabric: Fabric) -> RegionalModel | None:
    """Return the teacher on the device, in eval, without gradients: nothing of it may move, buffers included."""
    if foundation is None:
        return None
    model = foundation.model.requires_grad_(False).eval()
    return model.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _not_finite(terms: Terms, epoch: int, step: int) -> DataError:
    bad = [
        f"{name} of region '{region}'"
        for name, row in terms.items()
        for region, value in row.items()
        if not bool(torch.isfinite(value))
    ]
    return DataError(
        f"the loss is not finite in epoch {epoch + 1}, step {step + 1}: {', '.join(bad) or 'their sum'}",
        required="finite losses",
        fix="lower train.lr, set train.clip_norm, or check the images of that region",
    )


__all__ = ["Phase", "fit", "launch", "learning_rate", "validation_score"]
