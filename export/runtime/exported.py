"""An export as the measuring rooms see it: what it claims about itself, checked against its manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lorkit.decompose.artifacts import Manifest, read_manifest, verify_chain
from lorkit.decompose.documents.base import Owner
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.measured import Subject
from lorkit.decompose.documents.network import StoredNetwork

INFO = "export.json"


@dataclass(frozen=True)
class Exported(StoredNetwork):
    """One export directory with intact digests: `info` is its `export.json`."""

    path: Path
    manifest: Manifest
    info: ExportInfo

    @property
    def owner(self) -> Owner:
        """Whose network it holds: expert, foundation or student."""
        return self.info.owner

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Region, target, profile and precision: what two exports must share to be compared by default."""
        return self.region.name, self.info.target, self.info.profile, self.info.precision

    @property
    def synthetic(self) -> bool:
        """Whether it has only ever seen phantoms."""
        return self.manifest.synthetic

    @property
    def proven(self) -> bool:
        """Whether it was built here and gave its source's outputs."""
        return self.info.parity.status == "passed"

    def describe(self) -> Subject:
        """Return what a measurement says about its subject."""
        region, target, profile, precision = self.key
        return Subject(
            path=str(self.path),
            digest=self.manifest.digest,
            owner=self.info.owner,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
        )


def read_exported(path: Path, *, chained: bool = False) -> Exported:
    """Open an export directory, also one that was copied elsewhere.

    Args:
        path: The directory.
        chained: Also check what it was made from, as far as that lies where the export says. For exports that are
            found in a run; one that a user names may be kept from an earlier state of it on purpose.

    Raises:
        ArtifactError: It is no export, damaged, lacks a field of `export.json`, or was made from something that has
            been replaced or damaged since.
    """
    if chained:
        verify_chain(path)
    manifest = read_manifest(path, kind="export")
    info = ExportInfo.read(path / INFO, fix="export it again with --force")
    region = replace(info.as_region(), synthetic=manifest.synthetic)
    return Exported(path, manifest, info, region=region, recipe=info.recipe)


@dataclass(frozen=True)
class ExportPair:
    """A baseline and a candidate of one region; `not_judged` names other candidates of it."""

    baseline: Exported
    candidate: Exported
    not_judged: tuple[str, ...] = ()

    @property
    def region(self) -> str:
        """The region of both."""
        return self.candidate.region.name
