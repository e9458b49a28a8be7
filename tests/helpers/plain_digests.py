"""Search artifacts for plain digests of cases, as somebody does who has images and asks who has used them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lorkit.decompose.config import Config
from lorkit.decompose.data import RegionSamples, read_regions
from lorkit.decompose.runs.locked_data import RunSplits

_DIGITS, _OF_NAMES = 10, 8
"""Digests are shortened, to 12 digits in documents and to 8 in names of files: fewer would be found by chance."""


def plain_digests(config: Config, parts: RunSplits | None = None) -> set[str]:
    """Return the plain digests of the images, masks, files, parts and regions of a configuration."""
    found = set()
    for name, samples in read_regions(config).items():
        everything = {"": range(len(samples)), **({} if parts is None else parts.parts(name))}
        found |= {*samples.digests, *samples.mask_digests, samples.digest, *_of_files(samples)}
        found |= {_of_set(samples, list(indices)) for indices in everything.values()}
    return found


def _of_files(samples: RegionSamples) -> Iterable[str]:
    origin = Path(samples.origin)
    paths = origin.rglob("*") if origin.is_dir() else [origin]
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if path.is_file()]


def _of_set(samples: RegionSamples, indices: list[int]) -> str:
    rows = sorted(f"{samples.digests[index]}\t{samples.target(index)}" for index in indices)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def found_below(directory: Path, digests: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the files below a directory whose names, bytes or texts hold a plain digest, with these."""
    texts = {digest[:_DIGITS].encode(): digest for digest in digests}
    found = {}
    for path in sorted(directory.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        here = [one for one in texts.values() if bytes.fromhex(one)[:12] in data or one[:_OF_NAMES] in path.name]
        for run in set(re.findall(rb"[0-9a-fA-F]{%d,}" % _DIGITS, data)):
            windows = {run[at : at + _DIGITS].lower() for at in range(len(run) - _DIGITS + 1)}
            here += [texts[window] for window in windows & texts.keys()]
        if here:
            found[path.relative_to(directory).as_posix()] = sorted(here)
    return found
