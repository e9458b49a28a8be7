"""The one training loop, on Lightning Fabric: it yields events and draws nothing.

A step opens the routing scope, runs forward and backward inside it, and clears it. The order of samples, their
augmentation and the learning rate are functions of (seed, epoch, step), so a resumed run ends with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric
from torch import Tensor

from lorkit.decompose.checkpoints import Checkpoints, Progress
from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.loading import Batch, BatchLoader, eval_batches
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.devices import launch
from lorkit.decompose.events import Event, Finished, Saved, Started, Step, Validated
from lorkit.decompose.losses import total
from lorkit.decompose.metering import LossMeter, Queued
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.foundation import Foundation
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.optimising import build_optimizer, learning_rate
from lorkit.decompose.regions import RegionSet

__all__ = ["Phase", "fit", "launch", "learning_rate", "validation_score"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training: which regions, on which samples, for how long, and where its checkpoints lie.

    `settings.batch_size` counts the samples of one rank.
    """

    name: str
    regions: RegionSet
    train: Mapping[str, PreparedRegion]
    val: Mapping[str, PreparedRegion]
    settings: TrainConfig
    seed: int
    directory: Path


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
        if fabric.is_global_zero:
            path = checkpoints.save(trainer.state(), progress)
            yield Saved(phase=phase.name, epoch=epoch, path=str(path))
        fabric.barrier()
    module.load_state_dict(checkpoints.load_best())
    module.eval()
    yield Finished(
        phase=phase.name,
        best_epoch=progress.best_epoch,
        best=progress.best,
        seconds=time.perf_counter() - started,
        history=tuple(progress.history),
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
        optimizer = build_optimizer(module.parameter_groups(self.settings), self.settings)
        self.wrapped, self.optimizer = fabric.setup(module, optimizer)
        self.teacher = _frozen(foundation, fabric)
        self.progress = Progress()
        self._regional = module.region_parameters()
        self._process = psutil.Process()
        self._began = time.perf_counter()
        self._first = 0

    def state(self) -> dict[str, Any]:
        """Return everything that a resume needs besides the settings."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
        }

    def restore(self, state: dict[str, Any], progress: Progress) -> None:
        """Go back to a saved state."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"]["cpu"])
        if state["random"]["cuda"] and torch.cuda.device_count() == len(state["random"]["cuda"]):
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
        self.progress, self._first = progress, progress.epochs_done

    def epoch(self, epoch: int) -> Iterator[Event]:
        """Train one epoch and validate it."""
        began = time.perf_counter()
        meter = LossMeter()
        self.loader.set_epoch(epoch)
        self.wrapped.train()
        queued: Queued | None = None
        # losses are read one step late: a GPU then always has the next step queued while the host waits for values
        for step, batch in enumerate(self.loader):
            before, queued = queued, self._step(batch, epoch, step)
            if before is not None:
                yield self._report(before, meter, began)
        if queued is not None:
            yield self._report(queued, meter, began)
        seconds = time.perf_counter() - began
        yield self._validate(epoch, meter.means(self.fabric), meter.images * self.fabric.world_size / seconds, seconds)

    def _step(self, batch: Batch, epoch: int, step: int) -> Queued:
        counts = self._counts(batch)
        batch = Batch(*(self.fabric.to_device(tensor) for tensor in batch))
        batch = batch._replace(image=batch.image.contiguous(memory_format=torch.channels_last))
        rate = learning_rate(self.settings, epoch * len(self.loader) + step, len(self.loader))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        absent = [value for name, values in self._regional.items() if name not in counts for value in values]
        teacher = self._ask_teacher(batch)
        with self.module.live.scope(batch.region):  # through backward: checkpointing runs the forward again there
            terms = self.wrapped(batch, teacher)
            loss = total(terms)
            if absent and self.fabric.world_size > 1:
                # DDP waits for every parameter; ranks are dealt the same regions, so all of them lack these
                loss = loss + torch.stack([value.sum() for value in absent]).sum() * 0.0
            self.fabric.backward(loss)
        for value in absent:
            value.grad = None  # zero would let momentum and weight decay move a region that the batch does not hold
        if self.settings.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Queued.of(terms, counts, epoch, step)

    def _counts(self, batch: Batch) -> dict[str, int]:
        names = self.phase.regions.names
        counts = torch.bincount(batch.region, minlength=len(names)).tolist()
        return {name: count for name, count in zip(names, counts, strict=True) if count}

    def _ask_teacher(self, batch: Batch) -> RegionalOutput | None:
        if self.teacher is None:
            return None
        with torch.no_grad(), self.fabric.autocast():
            return cast(RegionalOutput, self.teacher(batch.image, batch.region))

    def _report(self, queued: Queued, meter: LossMeter, began: float) -> Step:
        losses = meter.add(queued)
        steps = len(self.loader)
        done = (queued.epoch - self._first) * steps + queued.step + 1
        left = (self.settings.epochs - self._first) * steps - done
        now = time.perf_counter()
        return Step(
            phase=self.phase.name,
            epoch=queued.epoch,
            epochs=self.settings.epochs,
            step=queued.step,
            steps=steps,
            losses=losses,
            images_per_second=meter.images * self.fabric.world_size / (now - began),
            loader_images_per_second=self.loader.images_per_second,
            eta_s=(now - self._began) / done * left,
            memory_mib=self._memory() / 2**20,
        )

    def _memory(self) -> float:
        if self.fabric.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.fabric.device))
        return float(self._process.memory_info().rss)

    def _validate(self, epoch: int, losses: dict[str, dict[str, float]], rate: float, seconds: float) -> Validated:
        scores = self._scores()
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
                "memory_mib": round(self._memory() / 2**20),
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

    def _scores(self) -> dict[str, float]:
        """Score the validation parts on the first rank, whose batch statistics are the ones that are saved."""
        self.wrapped.eval()
        scores: dict[str, float] = {}
        if self.fabric.is_global_zero:
            with self.fabric.autocast():
                for name in self.phase.regions.names:
                    scores[name] = validation_score(self.module.live, self.phase.val[name], name, self.fabric.device)
        return self.fabric.broadcast(scores)


@torch.no_grad()
def validation_score(model: RegionalModel, prepared: PreparedRegion, region: str, device: torch.device) -> float:
    """Return the balanced accuracy of a region's validation part: the mean recall of the classes that are there."""

    def predict(image: Tensor) -> Tensor:
        image = image.to(device, memory_format=torch.channels_last)
        return cast(RegionalOutput, model(image, region)).logits[region].argmax(1).cpu()

    predicted = torch.cat([predict(image) for image, _ in eval_batches(prepared)]).numpy()
    hit = predicted == prepared.labels
    return float(np.mean([hit[prepared.labels == label].mean() for label in np.unique(prepared.labels)]))


def _frozen(foundation: Foundation | None, fabric: Fabric) -> RegionalModel | None:
    """Return the teacher on the device, in eval, without gradients: nothing of it may move, buffers included."""
    if foundation is None:
        return None
    model = foundation.model.requires_grad_(False).eval()
    return model.to(device=fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
