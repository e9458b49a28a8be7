"""Read a run's data again and find its locked parts by digest, or map a file's rows to a region's classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lorkit.decompose.artifacts import read_json
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.assignment import Indices
from lorkit.decompose.data.keyed_digests import check_key, key_of, keyed_digests
from lorkit.decompose.data.prepared import PreparedImages, PreparedRegion, prepare
from lorkit.decompose.data.readers.registry import read_region
from lorkit.decompose.data.samples.open_files import OpenFiles
from lorkit.decompose.data.samples.pseudonyms import RUNS, Pseudonyms
from lorkit.decompose.data.samples.samples import PARTS, RegionSamples
from lorkit.decompose.data.splits import SPLIT_KEYS, Splits, label_digest
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.errors import ArtifactError, DataError, UsageError
from lorkit.decompose.regions import NODE, Region
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.recipes import recipe_of_region
from lorkit.decompose.tasks import get_task


class RunSplits:
    """The samples of a run, each region read once on first use, and the parts it was trained, tuned and tested on.

    Use one object per command, so that images are read, hashed and prepared once.

    Args:
        run: A finished run.
        region: Which regions; all by default.

    Raises:
        UsageError: An unknown region.
        ArtifactError: The run has no split.
    """

    def __init__(self, run: Run, region: str | None = None) -> None:
        self.run, self.names = run, run.regions.select(region).names
        self.key = DirectoryKey(run.path.parent)
        self._files = OpenFiles.of(run.config)
        self._samples: dict[str, RegionSamples] = {}
        self._parts: dict[str, Mapping[str, Indices]] = {}
        self._prepared = PreparedImages()

    @cached_property
    def _document(self) -> dict[str, Any]:
        return read_json(self.run.path / "splits.json", kind="splits")

    def counts(self, region: str) -> dict[str, int]:
        """Return the number of a region's samples by part, with those without labels that taught it, if any."""
        return {part: len(indices) for part, indices in self.parts(region).items()} | self.run.unlabelled(region)

    def digests(self, region: str) -> Mapping[str, list[str]]:
        """Return the keyed digests of a region's images by part, which needs no image.

        Raises:
            ArtifactError: The run has no split.
        """
        found: Mapping[str, list[str]] = self._document["regions"].get(region, {})
        return found

    def key_name(self, region: str) -> str | None:
        """Return the name of the key of a region's digests."""
        return key_of(self._document, region)

    def samples(self, region: str) -> RegionSamples:
        """Return the samples of a region, including those of no part.

        Raises:
            DataError: They cannot be read, or are not those that the run was trained on.
        """
        if region not in self._samples:
            samples = _read(self.run, self.run.regions.get(region), self._files)
            self._parts[region] = locked_splits(self._document, {region: samples}, self.key).parts(region)
            self._samples[region] = _known(samples, self._parts[region]["train"], self.run.config.split)
        return self._samples[region]

    def parts(self, region: str) -> Mapping[str, Indices]:
        """Return the sample indices of each part of a region; errors as in `samples`."""
        self.samples(region)
        return self._parts[region]

    def recipe(self, region: str) -> Recipe:
        """Return the preprocessing of a region's images."""
        return recipe_of_region(self.run, region)

    def part(self, region: str, part: str, *, recipe: Recipe | None = None, most: int | None = None) -> PreparedRegion:
        """Prepare one part ("train", "val" or "test") of a region, by default with the region's recipe.

        With `most`, at most this number of samples, evenly spaced.
        """
        indices = self.parts(region)[check_part(part)]
        if most is not None and len(indices) > most:
            indices = indices[:: -(-len(indices) // most)]
        return prepare(self.samples(region), recipe or self.recipe(region), indices=indices, shared=self._prepared)


def locked_splits(document: Mapping[str, Any], samples: Mapping[str, RegionSamples], key: DirectoryKey) -> Splits:
    """Find the samples of a stored split by the keyed digests of their images; other samples are omitted.

    Raises:
        ArtifactError: The document is not a split, or lacks a region.
        DataError: Images of the locked split are no longer in the data, have other labels, or are known by another key.
    """
    if document.get("kind") != "splits" or not all(isinstance(document.get(stated), dict) for stated in SPLIT_KEYS):
        raise ArtifactError(
            "the locked split is damaged, or of an earlier version",
            required="splits.json with keyed digests and labels",
            fix="train again with --force",
        )
    regions = {}
    for name, region in samples.items():
        if name not in document["regions"]:
            raise ArtifactError(
                f"the locked split has no region '{name}'",
                required=f"one of {', '.join(document['regions'])}",
                fix="use the split of the run that trained this region",
            )
        check_key(document, name, key)
        regions[name] = _find(region, document["regions"][name], document["labels"].get(name, {}), key)
    return Splits(regions)


def prepare_file(
    path: Path | str, region: Region, recipe: Recipe, runs: Path = RUNS, *, stated: RegionConfig | None = None
) -> PreparedRegion:
    """Prepare all rows of a file (any source of a configuration's `data`), classes matched by name.

    Args:
        path: The file or folder.
        region: Its region.
        recipe: Preprocessing.
        runs: Directory of runs, which holds the key of patients.
        stated: Settings of the region in its run: the tolerance of surfaces, and the columns of a table of nodes.

    Raises:
        DataError: The file cannot be read, or has an unknown class; both are named.
    """
    if recipe.nodes is not None:
        return _prepare_graph(path, region, recipe, stated)
    step = recipe.intensity  # decides what a DICOM file gives
    rules: dict[str, Any] = {
        "window": {"window": (step.low, step.high)},
        "percentile": {"intensity": "percentile"},
        "dtype": {},
    }
    if stated is not None:
        rules[step.rule]["nsd_tolerance_mm"] = stated.nsd_tolerance_mm
    config = _named(RegionConfig(data=(str(path),), task=region.task, **rules[step.rule]), region)
    where: dict[str, Any] = {"base": Path.cwd(), "dims": recipe.dims, "pseudonyms": Pseudonyms(runs)}
    samples = read_region(region.name, config, complete=False, **where)
    return prepare(samples, recipe)


def _prepare_graph(path: Path | str, region: Region, recipe: Recipe, stated: RegionConfig | None) -> PreparedRegion:
    """Prepare the labelled nodes of another graph.

    Neighbours see the labels of the training part that the file states, whose nodes are not returned; of a file without
    parts they see none, as in a graph that is labelled later.
    """
    from lorkit.decompose.data.node_samples import NodeSamples

    assert recipe.nodes is not None
    own = stated or RegionConfig(data=(str(path),), relations=recipe.nodes.relations if recipe.nodes.keys else None)
    paths = {"data": (str(Path(path).resolve()),), "train": None, "val": None, "test": None}
    config = own.model_copy(update={**paths, "task": region.task, "classes": region.classes})
    samples = read_region(region.name, config, base=Path.cwd(), complete=False)
    assert isinstance(samples, NodeSamples)  # of a region of this task
    training = np.array([part == "train" for part in samples.parts])
    rest = np.flatnonzero(~training)
    seen = samples.seen_from(np.flatnonzero(training) if len(rest) else rest)
    return prepare(seen, recipe, indices=rest if len(rest) else None)


def check_part(part: str) -> str:
    """Return `part`, or raise UsageError if it is unknown."""
    if part not in PARTS:
        raise UsageError(f"unknown split '{part}'", required=f"one of {', '.join(PARTS)}", fix="name one with --split")
    return part


def _read(run: Run, region: Region, files: OpenFiles) -> RegionSamples:
    config, keys = run.config, Pseudonyms(run.path.parent)
    one = _named(config.regions[region.name], region)
    settings: dict[str, Any] = {"base": config.base, "dims": len(config.image.size), "pseudonyms": keys}
    return read_region(region.name, one, **settings, files=files)


def _known(samples: RegionSamples, training: Indices, split: SplitConfig) -> RegionSamples:
    """Return samples; those of nodes seen from the samples of their training part."""
    if samples.region.task != NODE:
        return samples
    from lorkit.decompose.data.node_samples import visible_labels  # with SciPy, which images do not need

    name = samples.region.name
    return visible_labels({name: samples}, {name: training}, split)[name]


def _named(config: RegionConfig, region: Region) -> RegionConfig:
    """Return settings with the run's class order, whatever the files state today."""
    if isinstance(config.structures, dict):  # the numbers are needed too, and state the same order
        return config
    key = "structures" if get_task(region.task).dense else "classes"
    return config.model_copy(update={key: region.classes})


def _find(
    samples: RegionSamples, parts: Mapping[str, list[str]], labels: Mapping[str, str], key: DirectoryKey
) -> dict[str, Indices]:
    places: dict[str, list[int]] = defaultdict(list)
    name, cases = samples.region.name, samples.region.words.cases
    for index, digest in enumerate(keyed_digests(samples.digests, key)):
        places[digest].append(index)
    found = {}
    for part, digests in parts.items():
        missing = [digest for digest in digests if not places[digest]]
        if missing:
            raise DataError(
                f"region '{name}': {len(missing)} of {len(digests)} {cases} of the locked {part} split are not in"
                f" {samples.origin} (first digest {missing[0][:16]})",
                required="the data that the run was trained on",
                fix="restore the data, or train again",
            )
        indices = [places[digest].pop(0) for digest in digests if places[digest]]
        if len(indices) != len(digests):
            raise DataError(
                f"region '{name}': {len(digests) - len(indices)} repeated {cases} of the locked {part} split are gone",
                required="the data that the run was trained on",
                fix="restore the data, or train again",
            )
        found[part] = np.sort(np.array(indices, dtype=np.int64))
        if label_digest(samples, found[part], key) != labels.get(part):
            raise DataError(
                f"region '{name}': labels of the locked {part} split are not those that the run was trained with",
                required="unchanged labels, for comparable results",
                fix="restore them, or train again",
            )
    return found
