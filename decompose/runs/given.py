"""The directory of a network that lorkit did not train: `networks/<digest>/`, where its chain begins.

It holds what a run does for the commands after training: settings, one region, the locked split of the data that
calibrate and judge, exports and measurements. In place of trained weights it has `source.onnx`, which `network.json`
describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.artifacts import (
    SCHEMA_VERSION,
    digest_bytes,
    digest_json,
    is_current,
    staged_directory,
    write_bytes,
    write_json,
    write_manifest,
    write_text,
)
from lorkit.decompose.artifacts.keys import DirectoryKey
from lorkit.decompose.artifacts.manifest import is_artifact
from lorkit.decompose.artifacts.places import NETWORK, is_given
from lorkit.decompose.config import Config, to_yaml
from lorkit.decompose.config.loading import config_digest
from lorkit.decompose.data.readers.registry import read_regions
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.data.samples.samples import RegionSamples
from lorkit.decompose.data.splits import Splits, split_regions
from lorkit.decompose.documents.given import GivenInfo
from lorkit.decompose.documents.network import RegionInfo
from lorkit.decompose.errors import UsageError
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.regions import Region, RegionSet
from lorkit.decompose.runs import OUTSIDE
from lorkit.decompose.runs.listing import GIVEN_INFO, GIVEN_SOURCE, NETWORKS

_REVISION = 1
_DIGITS = 12  # of the digest in a directory's name


class _WrittenMeanwhile(Exception):
    """Another process wrote the same network before this one had the lock; its exports name that manifest."""


@dataclass(frozen=True, kw_only=True)
class GivenData:
    """The samples of a given network and their parts: `train` calibrates, `val` chooses, `test` judges."""

    samples: RegionSamples
    splits: Splits

    @property
    def region(self) -> Region:
        """The region of the samples."""
        return self.samples.region

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples by part."""
        return {part: len(indices) for part, indices in self.splits.parts(self.region.name).items()}


def read_given_data(config: Config, home: Path, on_event: Listener = ignore) -> GivenData:
    """Read and split the data of a given network; `home` holds the key of patients.

    Raises:
        UsageError: An unknown kind of source, or an unsupported task.
        DataError: Samples that cannot be used, or too few of them to split.
    """
    read = read_regions(config, on_event, Pseudonyms(home, create=True))
    ((name, samples),) = read.items()
    for text in samples.notices:
        on_event(Notice(text=f"region '{name}': {text}"))
    return GivenData(samples=samples, splits=split_regions(read, config.split, seed=config.seed))


def network_digest(config: Config, data: GivenData, source: bytes, settings: Mapping[str, str]) -> str:
    """Return the digest of everything that determines the directory of a given network."""
    return digest_json(
        {
            "revision": _REVISION,
            "source": digest_bytes(source),
            "settings": config_digest(config),
            "recipe": dict(settings),
            "data": {data.region.name: data.samples.digest},
        }
    )


def default_place(inputs: str) -> Path:
    """Return the directory of a given network without `--out`."""
    return NETWORKS / inputs[:_DIGITS]


def write_network(
    directory: Path, config: Config, data: GivenData, source: bytes, info: GivenInfo, inputs: str
) -> None:
    """Write a given network, unless the directory holds it already.

    Raises:
        UsageError: The directory holds something else, such as a run.
        ArtifactError: It holds this network, and a file of it has changed.
    """
    if is_artifact(directory) and not is_given(directory):
        raise UsageError(
            f"{directory} is of another kind",
            required="a new path, or a network of this kind",
            fix="choose another --out",
        )
    if is_current(directory, NETWORK, inputs):
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with suppress(_WrittenMeanwhile), staged_directory(directory) as staging:
        if is_current(directory, NETWORK, inputs):
            raise _WrittenMeanwhile
        regions = RegionSet([data.region])
        write_text(staging / "config.yaml", to_yaml(config))
        about = {"schema_version": SCHEMA_VERSION, "kind": "regions", "synthetic": regions.synthetic}
        write_json(staging / "regions.json", {**about, "regions": regions.to_json()})
        key = DirectoryKey(directory.parent, create=True)
        write_json(staging / "splits.json", data.splits.to_json({data.region.name: data.samples}, key))
        write_bytes(staging / GIVEN_SOURCE, source)
        info.write(staging / GIVEN_INFO)
        write_manifest(
            staging,
            NETWORK,
            synthetic=regions.synthetic,
            inputs=inputs,
            extra={
                "method": config.method,
                "name": config.name,
                "regions": list(regions.names),
                "foundation": False,
                "begins_with": {"name": info.source, "sha256": info.source_digest},
            },
            outside=OUTSIDE,
        )


def describing(region: Region) -> dict[str, object]:
    """Return the keys of `network.json` that describe its region."""
    return {**RegionInfo.describing(region), "synthetic": region.synthetic}
