"""An export as its commands use it: its description, checked against its manifest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, Manifest, read_manifest, verify_chain
from lorkit.decompose.artifacts.places import place_of
from lorkit.decompose.documents.base import Owner
from lorkit.decompose.documents.export import ExportInfo
from lorkit.decompose.documents.heads import Head
from lorkit.decompose.documents.measured import Subject
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import ExportSelection
from lorkit.export.runtime.agreement import check_agreement
from lorkit.export.runtime.graph_file import file_macs
from lorkit.export.targets.base import MODEL

if TYPE_CHECKING:
    from lorkit.decompose.documents.gate import Side

INFO = "export.json"


@dataclass(frozen=True)
class Exported(StoredNetwork):
    """One export directory with verified digests: `info` is its `export.json`.

    A view of one head of several (`of_head`) has the region of that head; path, costs and key are those of the whole.
    """

    path: Path
    manifest: Manifest
    info: ExportInfo

    @property
    def owner(self) -> Owner:
        """Owner of its network: expert, foundation or student."""
        return self.info.owner

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Region, target, profile and precision, which must be equal for a comparison by default."""
        return self.info.region, self.info.target, self.info.profile, self.info.precision

    @property
    def is_head(self) -> bool:
        """Whether it is a view of one head of several."""
        return self.region.name != self.info.region

    @property
    def region_index(self) -> int:
        """Index of its region among the heads."""
        return [head.region for head in self.info.heads].index(self.region.name)

    @property
    def head(self) -> Head:
        """The head of its region."""
        return self.info.heads[self.region_index]

    def of_head(self, region: str) -> Exported:
        """Return the export as that of one of its regions."""
        (head,) = (one for one in self.info.heads if one.region == region)
        return replace(self, region=replace(head.as_region(), synthetic=self.synthetic))

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on phantoms only, by `export.json`, which has a digest, or the manifest."""
        return self.info.synthetic or self.manifest.synthetic

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of one image, counted in its ONNX file; None if they cannot be."""
        return file_macs(self.path / MODEL, self.manifest.files[MODEL]) if MODEL in self.manifest.files else None

    @property
    def proven(self) -> bool:
        """Whether its parity was checked on the machine that built it."""
        return self.info.parity.status == "passed"

    def describe(self) -> Subject:
        """Return its description in measurements."""
        region, target, profile, precision = self.key
        return Subject(
            path=str(self.path),
            digest=self.manifest.digest,
            owner=self.info.owner,
            region=region,
            target=target,
            profile=profile,
            precision=precision,
            case=self.region.words.case,
        )


def read_exported(path: Path, selection: ExportSelection | None = None, *, chained: bool = False) -> Exported:
    """Open an export directory, also a copied one.

    Args:
        path: The directory.
        selection: Region, target, profile and precision that were asked for beside its path.
        chained: Also check its source, if it is where the export states. For exports found in a run; a named export may
            intentionally be from an earlier state of it.

    Raises:
        ArtifactError: It is not an export, is damaged, lacks a field of `export.json`, its source has been replaced or
            damaged, or it is of another region, owner, build or run than its manifest, its path or `selection` says.
    """
    if chained:
        verify_chain(path)
    manifest = read_manifest(path, kind="export")
    info = ExportInfo.read(path / INFO, fix="export it again with --force")
    _check_identity(manifest, info)
    check_agreement(manifest, info)
    if selection is not None and not selection.matches(info.region, info.target, info.profile, info.precision):
        raise ArtifactError(
            f"{path} is of region '{info.region}', {info.target}, {info.profile}, {info.precision}",
            required=f"an export of {selection.describe()}",
            fix="name another path, or leave the options out",
        )
    region = replace(info.as_region(), synthetic=info.synthetic or manifest.synthetic)
    return Exported(path, manifest, info, region=region, recipe=info.recipe)


def _check_identity(manifest: Manifest, info: ExportInfo) -> None:
    """Raise ArtifactError if a manifest, or the place of an export in a run, names another network than its document.

    Networks are named by owner and region, builds by target, profile and precision, sources by kind and digest.
    """
    own = {name: getattr(info, name) for name in ("owner", "region", "target", "profile", "precision")}
    given = {MANIFEST: {name: manifest.extra[name] for name in own if name in manifest.extra}}
    # the manifest itself has no digest: it may warn, but take no warning back
    own["synthetic"] = info.synthetic or manifest.synthetic
    given[MANIFEST]["synthetic"] = manifest.synthetic
    if (place := place_of(manifest.path)) is not None:
        given["its path"] = {"owner": place.owner, "region": place.region}
    if info.made_from is not None:
        own |= {"kind of its source": info.made_from.kind, "source": info.made_from.manifest}
        if (parent := manifest.parent) is not None:
            given[MANIFEST] |= {"kind of its source": parent["kind"], "source": parent["sha256"]}
    for where, stated in given.items():
        for name, value in stated.items():
            if value != own[name]:
                raise ArtifactError(
                    f"{manifest.path}: {name} is '{value}' in {where} and '{own[name]}' in {INFO}",
                    required="an export whose files agree",
                    fix="export it again with --force",
                )


@dataclass(frozen=True)
class ExportPair:
    """A baseline and a candidate of one region; `not_judged` names other candidates of it.

    A candidate for several regions has a pair for each of them, `heads`; its own baseline is that of the first.
    """

    baseline: Exported
    candidate: Exported
    not_judged: tuple[str, ...] = ()
    heads: tuple[ExportPair, ...] = ()

    @property
    def sides(self) -> dict[Side, Exported]:
        """Both by their side."""
        return {"baseline": self.baseline, "candidate": self.candidate}

    @property
    def region(self) -> str:
        """The region of both."""
        return self.candidate.region.name
