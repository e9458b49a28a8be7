"""The training loop, on Lightning Fabric; it yields events.

Order, augmentation and learning rate are functions of (seed, epoch, step), so a resumed run ends bit-identically.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch

from lorkit.decompose.data.batches.loader import Batch, BatchLoader
from lorkit.decompose.data.batches.microbatches import smallest_microbatch
from lorkit.decompose.events import (
    CacheFigures,
    EpochRow,
    Event,
    Finished,
    GateFigures,
    Notice,
    Saved,
    Started,
    Step,
    Validated,
)
from lorkit.decompose.machine import cuda_peak_mib, resident_mib
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.methods.baselines.balancers import check_balancer
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.tasks import validation_name
from lorkit.decompose.training.feature_cache import cache_statistics
from lorkit.decompose.training.feature_cache.statistics import describe_statistics
from lorkit.decompose.training.gradients.conflict import gradient_conflict
from lorkit.decompose.training.loop.checkpoints import Checkpoints, Progress, TrainingState
from lorkit.decompose.training.loop.early_stopping import stop_reason
from lorkit.decompose.training.loop.loss_meter import LossMeter, PendingLosses
from lorkit.decompose.training.loop.optimizer import learning_rate, least_steps
from lorkit.decompose.training.loop.phase import Phase
from lorkit.decompose.training.loop.step import OptimizerStep
from lorkit.decompose.training.loop.validation import validation_score

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_CONFLICT_BATCHES = 4


def fit(
    module: TrainingModule, phase: Phase, fabric: Fabric, *, teachers: Sequence[Foundation] = (), resume: bool = False
) -> Iterator[Event]:
    """Train one phase; afterwards `module` has the weights of the best epoch on validation, else of the last one.

    Args:
        module: The module to train, on the CPU; it is changed in place.
        phase: Regions, samples and budget.
        fabric: A launched Fabric.
        teachers: The frozen foundation, if the method needs one, and further teachers.
        resume: Continue from the newest checkpoint of the phase, if any.

    Yields:
        Started, then Steps, one Validated and one Saved per epoch, then Finished.

    Raises:
        DataError: A loss is not finite; term, region, epoch and step are named.
        ArtifactError: The checkpoint to resume from is damaged.
    """
    started = time.perf_counter()
    trainer = _Trainer(module, phase, fabric, teachers)
    checkpoints = Checkpoints(phase.directory)
    if resume and checkpoints.exists:
        trainer.restore(*checkpoints.load())
    progress = trainer.progress
    yield from (Notice(text=text) for text in (*phase.notices(), *trainer.loader.notices()))
    # a resumed phase may have stopped already
    epochs = progress.epochs_done if stop_reason(progress, phase.settings) else phase.settings.epochs
    yield Started(
        phase=phase.name,
        epochs=epochs,
        steps=trainer.steps,
        first_epoch=progress.epochs_done,
        parameters=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        history=tuple(progress.history),
    )
    with trainer.optimizer_step.transformed():
        for epoch in range(progress.epochs_done, epochs):
            yield from trainer.epoch(epoch)
            if fabric.is_global_zero:
                path = checkpoints.save(trainer.state(), progress)
                yield Saved(phase=phase.name, epoch=epoch, path=str(path))
            fabric.barrier()
            if stop_reason(progress, phase.settings) is not None:
                break
    trainer.optimizer_step.close()
    last_is_best = progress.best_epoch + 1 == progress.epochs_done and fabric.world_size == 1
    if not last_is_best or phase.settings.ema is not None:
        module.load_state_dict(checkpoints.load_best())
    module.eval()
    stopped = stop_reason(progress, phase.settings)
    if stopped is not None:
        yield Notice(text=f"{phase.name} {stopped}")
    yield from (Notice(text=describe_statistics(row)) for row in cache_statistics(progress.history))
    yield Finished(
        phase=phase.name,
        best_epoch=progress.best_epoch,
        best=progress.best if phase.val else None,
        seconds=time.perf_counter() - started,
        history=tuple(progress.history),
        stopped=stopped,
    )


class _Trainer:
    def __init__(self, module: TrainingModule, phase: Phase, fabric: Fabric, teachers: Sequence[Foundation]) -> None:
        self.phase, self.fabric, self.module = phase, fabric, module
        self.settings = phase.settings
        module.pos_weights = phase.loss_weights(fabric.device)
        module.logit_shifts = phase.logit_shifts(fabric.device)
        check_balancer(module.balancer, self.settings)
        self.loader = BatchLoader(
            phase.train,
            phase.regions,
            batch_size=self.settings.batch_size,
            sampling=self.settings.sampling,
            seed=phase.seed,
            augment=self.settings.augment,
            least_steps=least_steps(self.settings),
            teacher=phase.teacher_train if teachers else None,
            unlabelled=phase.unlabelled,
            teacher_unlabelled=phase.teacher_unlabelled,
            share=phase.share,
            foreground=self.settings.foreground,
            further=phase.further,
            rank=fabric.global_rank,
            world_size=fabric.world_size,
        )
        self.steps = len(self.loader)  # per epoch
        module.check_batches(smallest_microbatch(self.loader.samples_per_batch, self.settings.accumulate))
        self.optimizer_step = OptimizerStep(module, self.settings, fabric, teachers)
        if phase.cache_factory is not None:
            own, seen = (
                {name: pool.cached for name, pool in phase.pools(teacher=one).items()} for one in (False, True)
            )
            self.optimizer_step.open_cache(phase.cache_factory, next(iter(self.loader)), own, seen)
        else:
            self.optimizer_step.keep_features(self.loader)
        self.progress = Progress()
        self._metric = validation_name(phase.regions)
        self._began = time.perf_counter()
        self._first = 0

    def state(self) -> TrainingState:
        """Return everything that a resume needs besides the settings."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {**self.optimizer_step.state(), "random": {"cpu": torch.get_rng_state(), "cuda": cuda}}

    def restore(self, state: TrainingState, progress: Progress) -> None:
        """Restore a saved state."""
        self.optimizer_step.restore(state)
        torch.set_rng_state(state["random"]["cpu"])
        if state["random"]["cuda"] and torch.cuda.device_count() == len(state["random"]["cuda"]):
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
        self.progress, self._first = progress, progress.epochs_done

    def epoch(self, epoch: int) -> Iterator[Event]:
        """Train one epoch and validate it."""
        began = time.perf_counter()
        meter = LossMeter()
        self.optimizer_step.start_epoch(epoch)
        pending: PendingLosses | None = None
        # losses are read one step late, so that a GPU has the next step queued while the host waits
        for step, batch in enumerate(self._batches(epoch)):
            before, pending = pending, self._step(batch, epoch, step)
            if before is not None:
                yield self._report(before, meter, began)
        if pending is not None:
            yield self._report(pending, meter, began)
        kept = self.optimizer_step.flush_features()
        seconds = time.perf_counter() - began
        rate = meter.images * self.fabric.world_size / seconds
        yield self._validate(epoch, meter.means(self.fabric), rate, seconds, kept)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        self.loader.set_epoch(epoch)
        yield from self.loader

    def _step(self, batch: Batch, epoch: int, step: int) -> PendingLosses:
        steps = self.steps
        self.module.progress = (epoch * steps + step) / (self.settings.epochs * steps)
        terms = self.optimizer_step.step(batch, learning_rate(self.settings, epoch * steps + step, steps))
        return PendingLosses.of(terms, self._counts(batch), epoch, step)

    def _counts(self, batch: Batch) -> dict[str, int]:
        names = self.phase.regions.names
        counts = torch.bincount(batch.region, minlength=len(names)).tolist()
        return {name: count for name, count in zip(names, counts, strict=True) if count}

    def _report(self, pending: PendingLosses, meter: LossMeter, began: float) -> Step:
        losses = meter.add(pending)
        steps = self.steps
        done = (pending.epoch - self._first) * steps + pending.step + 1
        left = (self.settings.epochs - self._first) * steps - done
        now = time.perf_counter()
        return Step(
            phase=self.phase.name,
            epoch=pending.epoch,
            epochs=self.settings.epochs,
            step=pending.step,
            steps=steps,
            losses=losses,
            images_per_second=meter.images * self.fabric.world_size / (now - began),
            loader_images_per_second=self.loader.images_per_second,
            eta_s=(now - self._began) / done * left,
            memory_mib=resident_mib(),
            lr=learning_rate(self.settings, pending.epoch * steps + pending.step, steps),
            cuda_mib=cuda_peak_mib(),
            case=self.phase.regions.words.case,
        )

    def _validate(
        self, epoch: int, losses: dict[str, dict[str, float]], rate: float, seconds: float, kept: CacheFigures | None
    ) -> Validated:
        scores = self._scores()
        self.module.validated(scores)
        mean = sum(scores.values()) / len(scores) if scores else None
        best = mean is None or mean > self.progress.best  # a tie keeps the earlier epoch
        if best:
            self.progress.best_epoch = epoch
        if best and mean is not None:
            self.progress.best = mean
        self.progress.epochs_done = epoch + 1
        row: EpochRow = {
            "phase": self.phase.name,
            "epoch": epoch,
            "loss": losses,
            "val": {self._metric: scores, "mean": mean} if scores else {},
            "lr": learning_rate(self.settings, (epoch + 1) * self.steps - 1, self.steps),
            "seconds": round(seconds, 3),
            "images_per_second": round(rate, 1),
            "loader_images_per_second": round(self.loader.images_per_second, 1),
            "memory_mib": round(cuda_peak_mib() or resident_mib()),
        }
        if scores:
            row["metric"] = self._metric
        if kept is not None:
            row["teacher"] = kept
        gates = self._gates()
        if gates is not None:
            row["gates"] = gates
        stopped = stop_reason(self.progress, self.settings)
        if stopped is not None:
            row["stopped"] = stopped
        if self._conflict_due(epoch):
            row["gradient_cosine"] = self._conflict()
        self.progress.history.append(row)
        return Validated(
            phase=self.phase.name,
            epoch=epoch,
            epochs=self.settings.epochs,
            metric=self._metric if scores else "",
            scores=scores,
            mean=mean,
            best=best,
            losses=losses,
            images_per_second=rate,
            loader_images_per_second=self.loader.images_per_second,
            case=self.phase.regions.words.case,
        )

    def _conflict_due(self, epoch: int) -> bool:
        every = self.settings.log_conflict
        due = bool(every) and (epoch + 1) % every == 0 and len(self.phase.regions.names) > 1
        due = due and not self.optimizer_step.freezing.active  # frozen weights have no gradients that could conflict
        return due and self.fabric.is_global_zero

    def _conflict(self) -> float | None:
        """Measure the gradient conflict of regions on the shared backbone, on a few batches."""
        batches = islice(self.loader, _CONFLICT_BATCHES)
        return gradient_conflict(self.module, batches, teacher=self.optimizer_step.ask_teacher).mean

    def _gates(self) -> GateFigures | None:
        """Return the figures of a router on the first rank, whose rows are stored."""
        if not self.fabric.is_global_zero:
            return None
        with self.fabric.autocast(), torch.compiler.set_stance("force_eager"):
            return self.optimizer_step.evaluated_module.eval().gate_figures(self.phase.val)

    def _scores(self) -> dict[str, float]:
        """Score the validation parts, if any, on the first rank, whose batch statistics are saved."""
        model = self.optimizer_step.evaluated_module.eval().live
        scores: dict[str, float] = {}
        if self.fabric.is_global_zero:
            # compiling for each region and batch size costs more than it saves
            with self.fabric.autocast(), torch.compiler.set_stance("force_eager"):
                for name in self.phase.val:
                    scores[name] = validation_score(model, self.phase.val[name], name, self.fabric.device)
        return self.fabric.broadcast(scores)
