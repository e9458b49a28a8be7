"""Extracted networks as their files describe them: read and checked without their weights, which need torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.artifacts import MANIFEST, Manifest, read_manifest
from lorkit.decompose.artifacts.places import place_of
from lorkit.decompose.documents.expert import ExpertInfo
from lorkit.decompose.documents.network import StoredNetwork
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs.listing import EXPERT_INFO

if TYPE_CHECKING:
    from lorkit.decompose.documents.mixture import MixtureInfo

_AGAIN = "extract it again with --force"


@dataclass(frozen=True, kw_only=True)
class ExtractedExpert(StoredNetwork):
    """The expert of a region.

    Attributes:
        info: Its `expert.json`.
        manifest: Its checked manifest.
    """

    info: ExpertInfo
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class ExtractedMixture(StoredNetwork):
    """A network of several regions.

    Attributes:
        info: Its `expert.json`.
        manifest: Its checked manifest.
    """

    info: MixtureInfo
    manifest: Manifest


def is_expert(path: Path) -> bool:
    """Return whether a directory is an expert, according to its manifest."""
    return (path / MANIFEST).is_file() and read_manifest(path, verify=False).kind == "expert"


def is_mixture(path: Path) -> bool:
    """Return whether a directory is a network of several regions, according to its manifest."""
    return (path / MANIFEST).is_file() and read_manifest(path, verify=False).kind == "mixture"


def read_expert(path: Path) -> ExtractedExpert:
    """Read the description of an expert, also a copied one; every file is checked against its manifest.

    Raises:
        ArtifactError: It is not an expert, is damaged, or its files disagree.
    """
    manifest = read_manifest(path, kind="expert")
    info = ExpertInfo.read(path / EXPERT_INFO, fix=_AGAIN)
    _check_identity(manifest, info.region, info.made_from.run_manifest, synthetic=info.synthetic)
    return ExtractedExpert(region=info.as_region(), recipe=info.recipe, info=info, manifest=manifest)


def read_mixture(path: Path) -> ExtractedMixture:
    """Read the description of a network of several regions, likewise.

    Raises:
        ArtifactError: It is not one, is damaged, or its files disagree.
    """
    from lorkit.decompose.documents.mixture import MixtureInfo  # with the documents of evaluations

    manifest = read_manifest(path, kind="mixture")
    info = MixtureInfo.read(path / EXPERT_INFO, fix=_AGAIN)
    _check_identity(manifest, info.mixture.form, info.made_from.run_manifest, synthetic=info.synthetic)
    return ExtractedMixture(region=info.mixture.as_region(), recipe=info.recipe, info=info, manifest=manifest)


def _check_identity(manifest: Manifest, region: str, run_manifest: str, *, synthetic: bool) -> None:
    """Check that manifest, `expert.json` and place of an extracted network name the same region, run and data.

    Args:
        manifest: Its manifest.
        region: The region in `expert.json`, or the form of a network for all regions.
        run_manifest: Digest of its run in `expert.json`.
        synthetic: Whether it was trained on drawn images, by `expert.json`.

    Raises:
        ArtifactError: They do not.
    """
    place = place_of(manifest.path)
    parent = run_manifest if manifest.parent is None else manifest.parent["sha256"]
    given: list[tuple[str, object, object, str]] = [
        ("region", manifest.extra.get("region", region), region, MANIFEST),
        ("run", parent, run_manifest, MANIFEST),
        # the manifest itself has no digest: it may warn, but take no warning back
        ("synthetic", manifest.synthetic, manifest.synthetic or synthetic, MANIFEST),
    ]
    given += [] if place is None else [("region", place.region, region, "its path")]
    for name, other, own, where in given:
        if other != own:
            raise ArtifactError(
                f"{manifest.path}: {name} is '{other}' in {where} and '{own}' in {EXPERT_INFO}",
                required="an extracted network whose files agree",
                fix=_AGAIN,
            )
