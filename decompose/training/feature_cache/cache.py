"""The cache of one phase: batches with all features stored are read, others are run through the teacher and stored.

If one image of a batch is missing, the teacher runs the whole batch: kernels round differently for small batches, so
that all features equal, bit by bit, those of a whole batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from lorkit.decompose.data.batches.loader import Batch
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.events import CacheFigures
from lorkit.decompose.models.regional import RegionalModel
from lorkit.decompose.training.feature_cache.namespaces import cache_key
from lorkit.decompose.training.feature_cache.store import MemoryStore
from lorkit.decompose.training.feature_cache.tensors import join, tensors_of

# Largest rounding difference between two computations of a feature, relative to the largest of its tensor:
# kernels are chosen by the size of a batch, and tensor cores round fp32 to 10 bits.
_TOLERANCE = {torch.float32: 5e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}


class FeatureCache:
    """The feature cache of a phase.

    Args:
        stores: By region, in routing order; regions with equal preprocessing share one.
        digests: By region, of its samples in the order of the prepared part.
        kind: Class of the teacher's outputs.
        device: Device of the teacher.
    """

    def __init__(
        self,
        stores: Mapping[str, MemoryStore],
        digests: Mapping[str, Sequence[str]],
        kind: type[Any],
        device: torch.device,
    ) -> None:
        self._stores, self._digests = dict(stores), dict(digests)
        self._kind, self._device = kind, device
        self._asking, self._reading = Stopwatch(device), Stopwatch(device)
        self._asked = self._read = self._written = 0

    def query(self, query_teacher: Callable[[], Any], teacher: RegionalModel, batch: Batch, host: Batch) -> Any:
        """Return the teacher's outputs for a batch, read or computed.

        Args:
            query_teacher: Runs the teacher.
            teacher: Model whose heads are applied to stored features.
            batch: N samples on the device.
            host: The same on the CPU, to avoid synchronising a GPU.
        """
        wanted = self._wanted(host)
        if all(key in self._stores[name] for name, keys in wanted.items() for key in keys):
            self._read += len(host.region)
            with self._reading.running():
                return join(self._gather(wanted), self._kind, teacher, batch)
        self._asked += len(host.region)
        with self._asking.running():
            answer = query_teacher()
        tensors = tensors_of(answer, list(wanted))
        for name, keys in wanted.items():
            self._written += self._stores[name].add(keys, tensors[name])
        layouts = [self._stores[name].namespace.layout for name in wanted]
        if any(part.stored != part.given for layout in layouts for part in layout.values()):
            return join(self._gather(wanted), self._kind, teacher, batch)  # rounded equally in every epoch
        return answer

    def check(self, answer: Any, host: Batch) -> None:
        """Raise ArtifactError if stored features of a batch differ from the teacher's outputs."""
        wanted = self._wanted(host)
        tensors = tensors_of(answer, list(wanted))
        for name, keys in wanted.items():
            store = self._stores[name]
            for row, key in enumerate(keys):
                if key in store:
                    _check_entry(store, key, {part: value[row] for part, value in tensors[name].items()})

    def missing(self, region: str, views: int) -> int:
        """Return the number of missing versions of a region's images."""
        store = self._stores[region]
        return sum(cache_key(one, view) not in store for one in set(self._digests[region]) for view in range(views))

    def flush(self) -> None:
        """Write new features; raise StorageError if the disk is full."""
        for store in dict.fromkeys(self._stores.values()):
            store.flush()

    def refresh(self) -> None:
        """Load features that other processes have written."""
        for store in dict.fromkeys(self._stores.values()):
            store.refresh()

    def close(self) -> None:
        """Release the spaces."""
        for store in dict.fromkeys(self._stores.values()):
            store.close()

    def row(self) -> CacheFigures | None:
        """Return the figures since the last call: images requested and read, the seconds of both, bytes stored."""
        row: CacheFigures = {
            "asked": self._asked,
            "read": self._read,
            "asked_seconds": round(self._asking.take(), 4),
            "read_seconds": round(self._reading.take(), 4),
            "kept_bytes": self._written,
        }
        self._asked = self._read = self._written = 0
        return row

    def _wanted(self, host: Batch) -> dict[str, list[bytes]]:
        """Return the keys of a batch by region, the rows of each in order."""
        names = list(self._stores)
        found: dict[str, list[bytes]] = {}
        view = cast(Tensor, host.view).tolist()
        for region, sample, number in zip(host.region.tolist(), host.sample.tolist(), view, strict=True):
            key = cache_key(self._digests[names[region]][sample], number)
            found.setdefault(names[region], []).append(key)
        return found

    def _gather(self, wanted: Mapping[str, Sequence[bytes]]) -> dict[str, dict[str, Tensor]]:
        return {
            name: {part: value.to(self._device) for part, value in self._stores[name].read(keys).items()}
            for name, keys in wanted.items()
        }


def _check_entry(store: MemoryStore, key: bytes, tensors: Mapping[str, Tensor]) -> None:
    for name, found in store.read([key]).items():
        now = tensors[name].detach().float().cpu()
        allowed = _TOLERANCE[store.namespace.layout[name].stored] * float(now.abs().max())
        if not bool(((found[0].float() - now).abs() <= allowed).all()):
            raise ArtifactError(
                f"the teacher cache {store.directory} has other features than the teacher returns now",
                required="features of this teacher",
                fix=f"remove {store.directory}",
            )


class Stopwatch:
    """Seconds of work on a device, summed without synchronising after each piece."""

    def __init__(self, device: torch.device) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._on_gpu, self._device, self._seconds = device.type == "cuda", device, 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the block."""
        if self._on_gpu:
            event: Any = torch.cuda.Event
            pair = (event(enable_timing=True), event(enable_timing=True))
            pair[0].record()
            yield
            pair[1].record()
            self._events.append(pair)
            return
        started = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - started

    def take(self) -> float:
        """Return the seconds since the last call."""
        if self._events:
            torch.cuda.synchronize(self._device)
            self._seconds += sum(start.elapsed_time(end) for start, end in self._events) / 1000
            self._events.clear()
        seconds, self._seconds = self._seconds, 0.0
        return seconds
