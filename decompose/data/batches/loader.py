"""Batches for training and evaluation from prepared regions.

Shapes: N samples, C channels, P planes stored, `spatial` (H, W) or (D, H, W).

Batches are sorted by region in routing order, so that expert layers work on contiguous slices.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.config import AugmentConfig
from lorkit.decompose.data.batches.augmentation import augment, augment_mask, augment_of
from lorkit.decompose.data.batches.evaluation_size import eval_batch_size
from lorkit.decompose.data.batches.pool import SamplePool, Windows, label_weights, pools_of
from lorkit.decompose.data.batches.sampler import DrawnSamples, RegionSampler, region_key
from lorkit.decompose.data.prepared import PreparedRegion
from lorkit.decompose.data.random_numbers import Keys, keys
from lorkit.decompose.data.samples.label_table import UNCERTAIN
from lorkit.decompose.errors import DataError
from lorkit.decompose.regions import RegionSet


class Batch(NamedTuple):
    """One training batch.

    Attributes:
        image: (N, C, *spatial) float32 in [0, 1].
        label: (N,) int64 within the sample's region; (N, *spatial) of a segmentation; (N, L) of a multilabel region.
            Regions whose targets differ in shape have (N, W), flat and filled with -1, for `Task.own_targets`.
            -1 where a sample has no label.
        region: (N,) int64 routing indices, ascending.
        sample: (N,) int64 positions in the region's prepared set; unlabelled samples are after it.
        teacher_image: The same samples with the same augmentation in the teacher's size and channels; None if both
            networks see the same image.
        further_images: The same for each further teacher.
        view: (N,) int64 augmentation view of each sample; None if every pass draws a new one.
        weight: (N,) float32 of each sample's own loss: 0 without a label; None if all samples have one.
    """

    image: Tensor
    label: Tensor
    region: Tensor
    sample: Tensor
    teacher_image: Tensor | None = None
    view: Tensor | None = None
    weight: Tensor | None = None
    further_images: tuple[Tensor | None, ...] = ()

    @property
    def image_for_teacher(self) -> Tensor:
        """(N, C, *spatial) input of the teacher."""
        return self.image if self.teacher_image is None else self.teacher_image

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with a function applied to each of its tensors."""
        further = tuple(None if value is None else change(value) for value in self.further_images)
        changed = {name: change(value) for name, value in self._asdict().items() if isinstance(value, Tensor)}
        return self._replace(**changed, further_images=further)


class BatchLoader:
    """Mixed-region training batches of one rank, determined by (seed, epoch).

    Args:
        prepared: The training part of every region, at one size.
        regions: Regions in routing order.
        batch_size: Samples per batch on this rank.
        sampling: `balanced`, `sqrt` or `proportional`.
        seed: Seed of order and augmentation.
        augment: Random changes; None disables them.
        least_steps: An epoch has at least these steps.
        teacher: The same samples prepared for a teacher with other image settings.
        unlabelled: Samples without labels of some regions, at the same size.
        teacher_unlabelled: The same prepared for the teacher.
        share: Part of a region's samples in a batch that are unlabelled.
        foreground: Share of the windows of whole cases that are drawn around a structure.
        further: The same samples, with those without labels, prepared for each further teacher; None if the student's.
        rank: This process.
        world_size: Number of processes.

    Raises:
        DataError: The teacher's samples are others.
        UsageError: The batch is too small.
    """

    def __init__(
        self,
        prepared: Mapping[str, PreparedRegion],
        regions: RegionSet,
        *,
        batch_size: int,
        sampling: str,
        seed: int,
        augment: AugmentConfig | None,
        least_steps: int = 1,
        teacher: Mapping[str, PreparedRegion] | None = None,
        unlabelled: Mapping[str, PreparedRegion] | None = None,
        teacher_unlabelled: Mapping[str, PreparedRegion] | None = None,
        share: float = 0.0,
        foreground: float = 0.5,
        further: Sequence[Mapping[str, SamplePool] | None] = (),
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._prepared = pools_of(prepared, unlabelled, regions)
        self._teacher = None if teacher is None else pools_of(teacher, teacher_unlabelled, regions)
        self._further = further
        for pools in (self._teacher, *further):
            if pools is not None:
                _check_same(self._prepared, pools)
        counts = {name: len(prepared[name]) for name in regions.names}
        self._sampler = RegionSampler(
            counts,
            batch_size=batch_size,
            policy=sampling,
            seed=seed,
            least_steps=least_steps,
            unlabelled={name: len(one) for name, one in (unlabelled or {}).items()},
            share=share,
            rank=rank,
            world_size=world_size,
        )
        self._shape = tuple(prepared[regions.names[0]].stored.shape[2:])
        self._names = regions.names
        self._contents = {  # the first 64 bits of samples' digests
            name: np.array([int(digest[:16], 16) for digest in self._prepared[name].digests], dtype=np.uint64)
            for name in regions.names
            if augment is not None and augment.views is not None
        }
        self._seed, self._augment, self._epoch, self._foreground = seed, augment, 0, foreground
        self._augments = {name: augment_of(prepared[name], augment) for name in regions.names}
        self._images, self._seconds = 0, 0.0

    def __len__(self) -> int:
        """Return the number of steps per epoch, equal on every rank."""
        return self._sampler.steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def notices(self) -> list[str]:
        """Return what `RegionSampler.notices` says of the batches."""
        return self._sampler.notices()

    @property
    def samples_per_batch(self) -> NDArray[np.int64]:
        """(steps, regions) samples of each region in each batch, equal in every epoch and on every rank."""
        return self._sampler.samples_per_batch

    @property
    def digests(self) -> dict[str, tuple[str, ...]]:
        """The digests of each region's samples, in the order of `Batch.sample`."""
        return {name: pool.digests for name, pool in self._prepared.items()}

    @property
    def repeats(self) -> bool:
        """Whether every pass gives the same images: unchanged and whole."""
        changed = any(one is not None for one in self._augments.values())
        return not changed and not any(pool.windowed for pool in self._prepared.values())

    @property
    def images_per_second(self) -> float:
        """Images per second of loading time in this epoch; 0 before the first batch."""
        return self._images / self._seconds if self._seconds else 0.0

    def __iter__(self) -> Iterator[Batch]:
        self._images, self._seconds = 0, 0.0
        started = time.perf_counter()
        for draws in self._sampler.epoch(self._epoch):
            batch = self._assemble(draws)
            self._images += len(batch.label)
            self._seconds += time.perf_counter() - started
            yield batch
            started = time.perf_counter()

    def _assemble(self, draws: Mapping[str, DrawnSamples]) -> Batch:
        sizes = [len(draw.indices) for draw in draws.values()]
        region = np.repeat([self._names.index(name) for name in draws], sizes)
        labels = {name: self._label(name, draw) for name, draw in draws.items()}
        return Batch(
            image=self._image(draws, self._prepared),
            label=_joined(list(labels.values())).long(),
            region=torch.from_numpy(region.astype(np.int64)),
            sample=torch.from_numpy(np.concatenate([draw.indices for draw in draws.values()])),
            teacher_image=None if self._teacher is None else self._image(draws, self._teacher),
            view=self._view(draws),
            weight=self._weight(labels),
            further_images=tuple(None if pools is None else self._image(draws, pools) for pools in self._further),
        )

    def _weight(self, labels: Mapping[str, Tensor]) -> Tensor | None:
        """Return the weights of samples' own losses; None if no region has unlabelled samples."""
        if not self._sampler.unlabelled:
            return None
        mixed = self._sampler.unlabelled
        return torch.cat(
            [label_weights(one) if name in mixed else torch.ones(len(one)) for name, one in labels.items()]
        )

    def _label(self, name: str, draw: DrawnSamples) -> Tensor:
        """Gather the targets of a region; masks are transformed like their images."""
        pool, changes = self._prepared[name], self._augments[name]
        label = pool.targets(draw.indices, self._windows(name, draw, pool))
        own = draw.indices < len(pool.labelled)
        if pool.labelled.masks is not None and changes is not None and own.any():
            known = torch.from_numpy(np.flatnonzero(own))
            label[known] = augment_mask(label[known], self._keys(name, draw)[own], changes)
        return label

    def _image(self, draws: Mapping[str, DrawnSamples], pools: Mapping[str, SamplePool]) -> Tensor:
        """Gather and augment the images; gray images as their one stored plane, which is three times cheaper."""
        channels = pools[next(iter(draws))].labelled.recipe.channels
        pieces: dict[str, Tensor] = {}
        kinds: dict[tuple[int, str], list[str]] = {}
        for name in draws:
            kinds.setdefault((pools[name].planes, repr(self._augments[name])), []).append(name)
        for names in kinds.values():
            changes = self._augments[names[0]]
            gathered = torch.from_numpy(
                np.concatenate([self._stored(name, draws[name], pools[name]) for name in names])
            )
            if changes is not None:
                drawn = np.concatenate([self._keys(name, draws[name]) for name in names])
                gathered = augment(gathered, drawn, changes, like=self._shape)
            lengths = [len(draws[name].indices) for name in names]
            pieces |= dict(zip(names, torch.split(gathered, lengths), strict=True))
        return torch.cat([pieces[name].expand(-1, channels, *pieces[name].shape[2:]) for name in draws])

    def _stored(self, name: str, draw: DrawnSamples, pool: SamplePool) -> Float32Array:
        return pool.images(draw.indices, self._windows(name, draw, pool))

    def _windows(self, name: str, draw: DrawnSamples, pool: SamplePool) -> Windows | None:
        """Draw the windows of whole cases: the same for image, mask and each teacher's image."""
        if not pool.windowed:
            return None
        return pool.windows(draw.indices, self._keys(name, draw), self._foreground)

    def _keys(self, name: str, draw: DrawnSamples) -> Keys:
        if self._augment is not None and self._augment.views is not None:
            # by the image's content, so that fractions of the patients and other regions share its views
            return keys(self._seed, draw.passes % self._augment.views, self._contents[name][draw.indices])
        return keys(self._seed, self._epoch, region_key(name), draw.passes, draw.indices)

    def _view(self, draws: Mapping[str, DrawnSamples]) -> Tensor | None:
        changed = any(one is not None for one in self._augments.values())  # nodes of graphs never are
        views = self._augment.views if self._augment is not None and changed else 1
        if views is None:
            return None
        return torch.from_numpy(np.concatenate([draw.passes % views for draw in draws.values()]))


def _joined(labels: list[Tensor]) -> Tensor:
    """Join targets of regions; if their shapes differ, they are flat and as long as the longest, filled with -1."""
    if len({label.shape[1:] for label in labels}) == 1:
        return torch.cat(labels)
    tables = [label.long().reshape(len(label), -1) for label in labels]
    width = max(table.shape[1] for table in tables)
    return torch.cat([F.pad(table, (0, width - table.shape[1]), value=UNCERTAIN) for table in tables])


def eval_batches(prepared: PreparedRegion) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (N, C, *spatial) float32 in [0, 1] and int64 labels or masks, in order."""
    images, size = prepared.images, eval_batch_size(prepared.images.shape[2:])
    for start in range(0, len(prepared), size):
        stop = start + size
        image = torch.from_numpy(np.array(images[start:stop], dtype=np.float32, order="C"))
        yield image, torch.from_numpy(np.array(prepared.targets[start:stop], dtype=np.int64))


def _check_same(pools: Mapping[str, SamplePool], teacher: Mapping[str, SamplePool]) -> None:
    for name, pool in pools.items():
        if pool.digests != teacher[name].digests:
            raise DataError(
                f"region '{name}': the teacher's images are of other samples than the student's",
                required="the same samples in the same order",
                fix="prepare both from the same rows",
            )
