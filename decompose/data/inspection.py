"""Inspect data before training: counts, balance, groups, leaks, speed, and a contact sheet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lorkit.decompose.config import Config
from lorkit.decompose.data.prepared import PreparedRegion, prepare
from lorkit.decompose.data.preprocessing.recipe import build_recipe
from lorkit.decompose.data.readers.registry import read_regions
from lorkit.decompose.data.readers.unlabelled import read_unlabelled
from lorkit.decompose.data.samples.label_table import MULTILABEL, UNCERTAIN
from lorkit.decompose.data.samples.patients import BY_IMAGE
from lorkit.decompose.data.samples.samples import PARTS, RegionSamples
from lorkit.decompose.data.splits import Splits, components, find_contradictions, find_leaks, leak_error, split_regions
from lorkit.decompose.data.unlabelled import check_unlabelled, counts_of
from lorkit.decompose.documents.data import DataDocument, LoaderSpeed, PartCounts, RegionData
from lorkit.decompose.errors import plural
from lorkit.decompose.events import Listener, Working, ignore, with_progress
from lorkit.decompose.regions import NODE, RegionSet

_RARE = 0.1  # of the largest class
_RARE_LABEL = 20


def inspect(
    config: Config, samples: Mapping[str, RegionSamples] | None = None, on_event: Listener = ignore
) -> DataDocument:
    """Describe the data of a configuration.

    Leaks between stated parts are listed, not raised, so that the user sees all of them; training refuses them.

    Args:
        config: The configuration.
        samples: The result of `read_regions(config)`, if it was read already.
        on_event: Receives progress.

    Returns:
        A document of kind `data`: by region the counts by class and part, groups, sizes, dtypes, repeated images and
            leaks; images per second of preparation and of the training loader (null if a leak prevents a split, and for
            graphs, which have their relations and possible splits instead).

    Raises:
        DataError: The data cannot be read, or pixels are NaN.
    """
    samples = read_regions(config, on_event) if samples is None else samples
    found = {name: _describe(region) for name, region in samples.items()}
    documents = {name: document for name, (document, _) in found.items()}
    warnings = [f"region '{name}': {text}" for name, (_, texts) in found.items() for text in texts]
    warnings += _shared(samples)
    contradictions = find_contradictions(samples)
    for name, error in contradictions:
        documents[name].leaks.append(str(error))
    if contradictions:
        count = plural(len(contradictions), "image or patient", plural="images or patients")
        warnings.append(f"{count} in several regions and in different stated parts: training refuses them")
    graphs = [name for name, one in samples.items() if one.region.task == NODE]
    for index, name in enumerate(graphs):
        on_event(Working(f"splits of {name}", index, len(graphs)))
        documents[name] = _with_graph(documents[name], samples[name], config)
    loader = LoaderSpeed(images_per_second=None, prepared_per_second=None)
    if not any(region.leaks for region in documents.values()):
        splits = split_regions(samples, config.split, seed=config.seed)
        others, texts = _unlabelled(config, samples, splits, on_event)
        warnings += texts
        for name, counts in counts_of(others).items():
            documents[name] = documents[name].with_changes(unlabelled=counts)
        for name, region in samples.items():
            parts = {part: _count(region, index) for part, index in splits.parts(name).items()}
            documents[name] = documents[name].with_changes(parts=parts)
        if not graphs:
            training = {name: splits.parts(name)["train"] for name in samples}
            prepared, speed = _prepare(config, samples, training, on_event)
            warnings += [notice for region in prepared.values() for notice in region.notices]
            on_event(Working("timing the loader", 0, 1))
            loader = LoaderSpeed(images_per_second=_loader_speed(config, prepared), prepared_per_second=speed)
    return DataDocument(
        warnings=warnings,
        synthetic=any(region.region.synthetic for region in samples.values()),
        regions=documents,
        loader=loader,
    )


def _with_graph(document: RegionData, samples: RegionSamples, config: Config) -> RegionData:
    from lorkit.decompose.data.graph_inspection import inspect_graph  # with SciPy, for graphs alone
    from lorkit.decompose.data.node_samples import NodeSamples, split_kind

    assert isinstance(samples, NodeSamples)  # as all of this task
    graph = inspect_graph(samples, config.split, config.graph)
    return document.with_changes(graph=graph, split=split_kind(samples, config.split))


def _unlabelled(
    config: Config, samples: Mapping[str, RegionSamples], splits: Splits, on_event: Listener
) -> tuple[dict[str, RegionSamples], list[str]]:
    """Read the images without labels, and say what the user should know of them."""
    named = [name for name in samples if config.regions[name].unlabelled is not None]
    found = {
        name: read_unlabelled(samples[name], config.regions[name], base=config.base)
        for name in with_progress(named, "reading unlabelled images", on_event)
    }
    return found, check_unlabelled(samples, splits, found)


def _describe(samples: RegionSamples) -> tuple[RegionData, list[str]]:
    shapes = [tuple(samples.images[index].shape) for index in range(len(samples))]
    leaks = find_leaks(samples)
    counts = samples.counts()
    repeated = len(samples) - len(set(samples.digests))
    conflicting, parts = _conflicting(samples), np.array(samples.parts)
    document = RegionData(
        source=samples.origin,
        task=samples.region.task,
        modality=samples.region.modality,
        synthetic=samples.region.synthetic,
        n=len(samples),
        cases_by_class=dict(zip(samples.region.classes, counts, strict=True)),
        groups=len(set(samples.groups)),
        components=len(components(samples.groups, samples.digests)),
        smallest=list(min(shape[: samples.dims] for shape in shapes)),
        largest=list(max(shape[: samples.dims] for shape in shapes)),
        channel_counts=sorted({1 if len(shape) == samples.dims else shape[-1] for shape in shapes}),
        dtypes=sorted({samples.images[index].dtype.name for index in range(len(samples))}),
        split=_split(samples),
        repeated_images=repeated,
        conflicting_labels=conflicting,
        leaks=[str(leak_error(samples, leak)) for leak in leaks],
        parts={part: _count(samples, np.flatnonzero(parts == part)) for part in PARTS} if samples.parts[0] else None,
        digest=samples.digest,
    )
    known = np.array([one for one in samples.spacings if one is not None], dtype=np.float64)
    if len(known):
        document = document.with_changes(spacing_range_mm=[known.min(0).tolist(), known.max(0).tolist()])
    if samples.task == MULTILABEL:
        uncertain = dict(zip(samples.region.classes, samples.uncertain_counts(), strict=True))
        document = document.with_changes(uncertain=uncertain)
    twice = [f"{plural(repeated, 'image')} given more than once"] if repeated else []
    return document, [*samples.notices, *_warnings(samples, counts, len(leaks), conflicting), *twice]


def _shared(samples: Mapping[str, RegionSamples]) -> list[str]:
    """Say which regions share images: these are in one part of the split in all of them."""
    found = {name: set(region.digests) for name, region in samples.items()}
    return [
        f"regions '{one}' and '{other}' share {plural(len(both), 'image')}: one part of the split in both"
        for one, other in combinations(found, 2)
        if (both := found[one] & found[other])
    ]


def _split(samples: RegionSamples) -> str:
    how = "stated" if samples.parts[0] else "by group"
    if samples.region.grouped:
        return how
    return f"stated, {BY_IMAGE}" if samples.parts[0] else BY_IMAGE


def _warnings(samples: RegionSamples, counts: list[int], leaks: int, conflicting: int) -> list[str]:
    many, classes = samples.task == MULTILABEL, samples.region.classes
    least = _RARE_LABEL if many else _RARE * max(counts)
    rare = [name for name, count in zip(classes, counts, strict=True) if count < least]
    found = [f"class '{name}' has less than a tenth of the largest class's samples" for name in rare if not many]
    found += [f"label '{name}' has fewer than {_RARE_LABEL} positive images" for name in rare if many]
    unknown = int((samples.labels == UNCERTAIN).all(1).sum()) if many else 0
    if unknown:
        found.append(f"{plural(unknown, 'image')} without any known label: they teach nothing")
    if leaks:
        found.append(f"{plural(leaks, 'leak')} between stated parts: training refuses them")
    if conflicting:
        found.append(f"{plural(conflicting, 'image')} given twice with different labels")
    return found


def _conflicting(samples: RegionSamples) -> int:
    """Count images that appear with more than one label or mask."""
    pairs = {(digest, samples.target(index)) for index, digest in enumerate(samples.digests)}
    return sum(count > 1 for count in Counter(digest for digest, _ in pairs).values())


def _count(samples: RegionSamples, indices: NDArray[np.int64]) -> PartCounts:
    return PartCounts(
        n=len(indices),
        groups=len({samples.groups[index] for index in indices.tolist()}),
        cases_by_class=dict(zip(samples.region.classes, samples.counts(indices), strict=True)),
    )


def _prepare(
    config: Config, samples: Mapping[str, RegionSamples], training: Mapping[str, NDArray[np.int64]], on_event: Listener
) -> tuple[dict[str, PreparedRegion], float]:
    started = time.perf_counter()
    recipes = {name: build_recipe(config.image, config.regions[name]) for name in samples}
    prepared = {
        name: prepare(region, recipes[name], indices=training[name], on_event=on_event)
        for name, region in samples.items()
    }
    return prepared, sum(map(len, prepared.values())) / (time.perf_counter() - started)


def _loader_speed(config: Config, prepared: Mapping[str, PreparedRegion]) -> float:
    from lorkit.decompose.data.batches.loader import BatchLoader  # needs torch, unlike the other counts

    loader = BatchLoader(
        prepared,
        RegionSet(region.region for region in prepared.values()),
        batch_size=config.train.batch_size,
        sampling=config.train.sampling,
        seed=config.seed,
        augment=config.train.augment,
        foreground=config.train.foreground,
    )
    deadline = time.perf_counter() + 1.0
    for _ in loader:
        if time.perf_counter() > deadline:
            break
    return loader.images_per_second
