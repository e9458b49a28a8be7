"""Find the file of a case by the digest that reports and documents name it by."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.config import Config
from lorkit.decompose.data.keyed_digests import keyed_digests
from lorkit.decompose.data.readers.registry import read_regions
from lorkit.decompose.data.readers.unlabelled import read_unlabelled
from lorkit.decompose.data.samples.pseudonyms import RUNS, Pseudonyms
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.splits import split_regions
from lorkit.decompose.documents.find import FindDocument, FoundCase
from lorkit.decompose.errors import DataError, UsageError
from lorkit.decompose.events import Listener, ignore

_SHORTEST = 6
Parts = Mapping[int, Literal["train", "val", "test", "unlabelled"]]


def find(config: Config, digest: str, *, runs: Path = RUNS, on_event: Listener = ignore) -> FindDocument:
    """Return the samples of a configuration whose keyed digest begins with `digest`.

    Args:
        config: The settings that the run was trained with, such as its `config.yaml`.
        digest: The first digits of a digest, as reports show them, or all 64.
        runs: Directory of runs, which holds the key of the digests.
        on_event: Receives progress.

    Raises:
        UsageError: Not a digest, or the directory has no key.
        DataError: The data cannot be read, or no sample has it.
    """
    wanted = digest.strip().rstrip(".…").lower()
    if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},64}}", wanted):
        raise UsageError(
            f"--find {digest}",
            required=f"{_SHORTEST} to 64 hexadecimal digits of a case",
            fix="copy it from the report",
        )
    if not (pseudonyms := Pseudonyms(runs)).key.exists:
        raise UsageError(
            f"--find {digest} without {KEY_FILE} in {runs}",
            required="the directory of runs that the report is from",
            fix="name the configuration of the run, such as runs/ID/config.yaml",
        )
    samples = read_regions(config, on_event, pseudonyms)
    parts = _parts(config, samples)
    key = pseudonyms.key
    cases = [case for name, one in samples.items() for case in _cases(one, wanted, parts.get(name, {}), key)]
    for name in (name for name in samples if config.regions[name].unlabelled is not None):
        others = read_unlabelled(samples[name], config.regions[name], base=config.base, pseudonyms=pseudonyms)
        cases += _cases(others, wanted, dict.fromkeys(range(len(others)), "unlabelled"), key)
    if not cases:
        raise DataError(
            f"no sample of {', '.join(samples)} has a digest that begins with {wanted}",
            required="a case of these data as they are now",
            fix="name the configuration of the run, such as runs/ID/config.yaml",
        )
    return FindDocument(warnings=[], find=wanted, found=cases)


def _parts(config: Config, samples: Mapping[str, RegionSamples]) -> dict[str, Parts]:
    try:
        splits = split_regions(samples, config.split, seed=config.seed)
    except DataError:  # data that training refuses; `decompose data` says why
        return {}
    return {
        name: {int(index): part for part, indices in splits.parts(name).items() for index in indices}  # type: ignore[misc]
        for name in samples
    }


def _cases(samples: RegionSamples, wanted: str, parts: Parts, key: DirectoryKey) -> Iterator[FoundCase]:
    for index, digest in enumerate(keyed_digests(samples.digests, key)):
        if digest.startswith(wanted):
            part = parts.get(index)
            yield FoundCase(
                region=samples.region.name,
                digest=digest,
                name=(samples.names or samples.ids)[index],
                source=samples.origin,
                group=samples.groups[index],
                target="" if part == "unlabelled" else samples.target(index),
                part=part,
            )
