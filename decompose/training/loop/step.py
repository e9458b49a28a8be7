"""One optimiser step: micro-batches forward and backward inside their routing scope, then one update."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lorkit.decompose.config import TrainConfig
from lorkit.decompose.data.batches.loader import Batch, BatchLoader
from lorkit.decompose.data.batches.microbatches import split_batch
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.events import CacheFigures
from lorkit.decompose.experts import packed
from lorkit.decompose.methods.base import TrainingModule
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import freeze_
from lorkit.decompose.models.regional import RegionalModel, RegionalOutput
from lorkit.decompose.models.small_maps import with_products
from lorkit.decompose.tasks.losses import Terms
from lorkit.decompose.training.feature_cache import FeatureCache, FeatureCacheFactory, memory_cache
from lorkit.decompose.training.feature_cache.tensors import FeatureLayout, layouts_of
from lorkit.decompose.training.gradients.balancing import build_backward
from lorkit.decompose.training.loop.checkpoints import StepState
from lorkit.decompose.training.loop.compiling import compiled, loosen_
from lorkit.decompose.training.loop.devices import memory_format, set_layout_
from lorkit.decompose.training.loop.fine_tuning import BackboneFreezing, with_layer_rates
from lorkit.decompose.training.loop.optimizer import average_of, build_optimizer, set_learning_rate
from lorkit.decompose.training.loop.recomputing import recomputed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PreparedRegions = Mapping[str, PreparedRegion]


class OptimizerStep:
    """The module in training with its optimiser, teacher, average and gradient combination.

    Args:
        module: The module to train, with its experts.
        settings: Of the training.
        fabric: A launched Fabric.
        teachers: The frozen foundation and further teachers, or none.
    """

    def __init__(
        self, module: TrainingModule, settings: TrainConfig, fabric: Fabric, teachers: Sequence[Foundation] = ()
    ) -> None:
        self.module, self.settings, self.fabric = module, settings, fabric
        set_layout_(module)
        groups = with_layer_rates(module.parameter_groups(settings), module, settings)
        optimizer = build_optimizer(groups, settings)
        self.wrapped, self.optimizer = fabric.setup(module, optimizer)
        self.average = None if settings.ema is None else average_of(module, settings.ema)
        self._foundations, self.teachers = teachers, [_frozen(one, fabric) for one in teachers]
        self.cache: FeatureCache | None = None  # opened when the teacher's first output shows its shapes
        self.backward = build_backward(module, fabric)
        self._regional = module.region_parameters()
        self.freezing = BackboneFreezing(module, settings, fabric.world_size)

    @property
    def evaluated_module(self) -> TrainingModule:
        """The weights that are validated and saved: the average, if there is one."""
        return self.module if self.average is None else cast(TrainingModule, self.average.module)

    @contextmanager
    def transformed(self) -> Iterator[None]:
        """Pack, compile or checkpoint the backbone inside the context, or make its smallest convolutions products."""
        live = self.module.live
        with ExitStack() as stack:
            stack.enter_context(packed(live.backbone))
            if self.settings.checkpointing:
                stack.enter_context(recomputed(live.backbone))
            if self.settings.compile:
                stack.enter_context(compiled(live, self.fabric.device))
            else:
                stack.enter_context(with_products(live.backbone))
            yield

    def start_epoch(self, epoch: int) -> None:
        """Set the training mode of an epoch, with its backbone frozen or not."""
        self.wrapped.train()
        if self.freezing.start(epoch):
            state = self.backward.state()
            self.backward = build_backward(self.module, self.fabric)  # of the parameters that have gradients now
            self.backward.restore(state)

    def step(self, batch: Batch, rate: float) -> Terms:
        """Train on a batch on the host; return its loss terms, whose sum is the mean over the batch.

        Args:
            batch: N samples, sorted by region.
            rate: Learning rate.
        """
        set_learning_rate(self.optimizer, rate)
        terms: Terms = {}
        pieces = split_batch(batch, self.settings.accumulate)
        for index, piece in enumerate(pieces):
            waits = index + 1 < len(pieces) and self.fabric.world_size > 1
            with self.fabric.no_backward_sync(self.wrapped, enabled=waits):
                self._accumulate(piece, len(piece.label) / len(batch.label), terms)
        self.backward.finish()
        for value in self._unreached(batch):
            value.grad = None  # with zero, momentum and decay would change them
        self.freezing.drop_gradients()
        if self.settings.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.module)
        return terms

    def ask_teacher(self, batch: Batch, host: Batch | None = None) -> Any:
        """Return the teacher's outputs for a batch, those of all if there are several, or None without a teacher.

        Args:
            batch: N samples on the device.
            host: The same on the CPU, if available.
        """
        if not self.teachers:
            return None
        for teacher in self.teachers:
            freeze_(teacher)
        with torch.no_grad(), self.fabric.autocast():
            if self.cache is None:
                return self.module.query_teachers(self.teachers, batch)
            (teacher,) = self.teachers
            return self.cache.query(lambda: self.module.query_teacher(teacher, batch), teacher, batch, host or batch)

    def state(self) -> StepState:
        """Return the state for a resume, without random generators; `average` only if there is one."""
        state: StepState = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "backward": self.backward.state(),
        }
        if self.average is not None:
            state["average"] = self.evaluated_module.state_dict()
            state["averaged"] = int(self.average.n_averaged)
        return state

    def restore(self, state: StepState) -> None:
        """Restore a saved state."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.backward.restore(state["backward"])
        if self.average is not None:
            self.evaluated_module.load_state_dict(state["average"])
            self.average.n_averaged.fill_(state["averaged"])

    def open_cache(
        self, cache_factory: FeatureCacheFactory, host: Batch, parts: PreparedRegions, seen: PreparedRegions
    ) -> None:
        """Cache the teacher's features from now on, if there is a teacher.

        Args:
            cache_factory: Opens the cache.
            host: A first batch on the CPU, to find the shapes and to check existing features.
            parts: Training parts in routing order.
            seen: The same prepared for the teacher.
        """
        if not self._foundations:
            return
        (foundation,) = self._foundations  # a cache holds the features of one teacher
        answer = self.ask_teacher(self.to_device(host))
        layouts = self._layouts(answer, host, cache_factory.config.cache.dtype)
        self.cache = cache_factory.open(answer, host, layouts, parts, seen, foundation, self.fabric)

    def keep_features(self, loader: BatchLoader) -> None:
        """Keep the features of a single teacher in memory, if every epoch asks for the same ones and they are few.

        Batches are of one size, for which kernels round equally, so the training stays the same bit by bit. Beside
        regions without masks, the decoder gets another number of images in each batch.
        """
        settings, fabric = self.settings, self.fabric
        if settings.epochs < 2 or settings.batch_size % settings.accumulate or not loader.repeats:
            return
        if len(self._foundations) != 1 or self._foundations[0].is_teacher:
            return
        if fabric.world_size > 1 or fabric.device.type != "cpu" or len(set(self.teachers[0].dense)) > 1:
            return
        host = next(iter(loader))
        answer = self.ask_teacher(self.to_device(host))
        if type(answer) is RegionalOutput:
            self.cache = memory_cache(self._layouts(answer, host, "fp32"), loader.digests, fabric.device)

    def flush_features(self) -> CacheFigures | None:
        """Write the features of an epoch; return the figures for its row of metrics; None without a cache."""
        if self.cache is None:
            return None
        self.cache.flush()
        self.fabric.barrier()
        self.cache.refresh()  # features of the other ranks
        return self.cache.row()

    def close(self) -> None:
        """Release the cache and the frozen weights."""
        self.freezing.release()
        if self.cache is not None:
            self.cache.close()

    def to_device(self, piece: Batch) -> Batch:
        """Return a batch on the device, its images in the fastest layout."""
        return piece.mapped(self.fabric.to_device).mapped(_laid_out)

    def _layouts(self, answer: Any, host: Batch, dtype: str) -> dict[str, FeatureLayout]:
        """Return the layouts of the teacher's outputs by region, of which `answer` are those for `host`."""
        names = self.module.live.regions.names
        layouts = layouts_of(answer, [names[index] for index in sorted(set(host.region.tolist()))], dtype)
        for index, name in enumerate(names):
            if name not in layouts:  # the first batch has no image of the region: shapes are those of any
                batch = self.to_device(host._replace(region=torch.full_like(host.region, index)))
                layouts |= layouts_of(self.ask_teacher(batch), [name], dtype)
        return layouts

    def _accumulate(self, piece: Batch, share: float, terms: Terms) -> None:
        """Run one micro-batch with `share` of the samples, and add its terms to those of the batch."""
        absent = self._unreached(piece) if self.fabric.world_size > 1 else ()
        batch = self.to_device(piece)
        teacher = self.ask_teacher(batch, piece)
        with self.module.live.scope(batch.region) as routed:  # also for backward, where checkpointing runs blocks again
            if self.settings.compile:
                loosen_(routed)
            found = cast(Terms, self.wrapped(batch, teacher))
            if share < 1:
                found = {term: {name: value * share for name, value in row.items()} for term, row in found.items()}
            # DDP waits for every parameter; ranks have the same regions, so none of them reaches these
            zero = torch.stack([value.sum() for value in absent]).sum() * 0.0 if absent else None
            self.backward.add(found, zero)
        for term, row in found.items():
            sums = terms.setdefault(term, {})
            for name, value in row.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()

    def _unreached(self, batch: Batch) -> Sequence[nn.Parameter]:
        """Return the parameters of absent regions, and others that only a region of another kind reaches."""
        regions = self.module.live.regions.names
        present = {regions[index] for index in set(batch.region.tolist())}
        owned = [value for name, values in self._regional.items() if name not in present for value in values]
        known = {id(value) for value in owned}
        idle = self.module.idle_parameters(present)
        return [*owned, *(value for value in idle if value.requires_grad and id(value) not in known)]


def _laid_out(value: Tensor) -> Tensor:
    """Return images in the fastest layout for convolutions; labels unchanged."""
    return value.contiguous(memory_format=memory_format(value.dim())) if value.is_floating_point() else value


def _frozen(foundation: Foundation, fabric: Fabric) -> RegionalModel:
    """Return the teacher on the device, in eval mode, without gradients."""
    freeze_(foundation.model)
    set_layout_(foundation.model)
    return foundation.model.to(device=fabric.device)
