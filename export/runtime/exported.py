"""An export as the measuring rooms see it: what it claims about itself, checked against its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import Manifest, read_json, read_manifest, verify_chain
from lorkit.decompose.data.preprocessing.recipe import Recipe, recipe_channels, recipe_size, validate_recipe
from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.regions import Region

INFO = "export.json"
_REQUIRED = ("owner", "region", "target", "profile", "precision", "classes", "recipe", "size_bytes")
_NUMBERS = ("size_bytes", "parameters", "macs")
_WORDS = ("owner", "region", "target", "profile", "precision", "task")
_BLOCKS = ("recipe", "parity", "lowering")


@dataclass(frozen=True)
class Exported:
    """One export directory with intact digests: `info` is its `export.json`."""

    path: Path
    manifest: Manifest
    info: dict[str, Any]

    @property
    def region(self) -> str:
        """Region that it was exported for."""
        return str(self.info["region"])

    @property
    def owner(self) -> str:
        """Whose network it holds: expert, foundation or student."""
        return str(self.info["owner"])

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Region, target, profile and precision: what two exports must share to be compared by default."""
        return self.region, str(self.info["target"]), str(self.info["profile"]), str(self.info["precision"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in output order."""
        return tuple(str(name) for name in self.info["classes"])

    @property
    def recipe(self) -> Recipe:
        """How an image becomes its input."""
        recipe: Recipe = self.info["recipe"]
        return recipe

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input image, (C, H, W)."""
        return (recipe_channels(self.recipe), *recipe_size(self.recipe))

    @property
    def synthetic(self) -> bool:
        """Whether it has only ever seen phantoms."""
        return self.manifest.synthetic

    @property
    def proven(self) -> bool:
        """Whether it was built here and gave its source's outputs."""
        return str((self.info.get("parity") or {}).get("status")) == "passed"

    def as_region(self) -> Region:
        """Return the region as far as the export knows it."""
        task = str(self.info.get("task") or "classification")
        return Region(name=self.region, task=task, classes=self.classes, synthetic=self.synthetic)

    def describe(self) -> dict[str, Any]:
        """Return what a measurement says about its subject."""
        region, target, profile, precision = self.key
        return {
            "path": str(self.path),
            "digest": self.manifest.digest,
            "owner": self.owner,
            "region": region,
            "target": target,
            "profile": profile,
            "precision": precision,
        }


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
    manifest = verify_chain(path, kind="export")[0] if chained else read_manifest(path, kind="export")
    info = read_json(path / INFO, kind="export")
    missing = [name for name in _REQUIRED if info.get(name) is None]
    if missing:
        raise ArtifactError(
            f"{path / INFO} lacks {', '.join(missing)}",
            required="an export written by `decompose export`",
            fix="export it again with --force",
        )
    odd = [
        (name, text)
        for names, kinds, text in (
            (_NUMBERS, (int, float), "a number"),
            (_WORDS, str, "a text"),
            (_BLOCKS, dict, "a block of fields"),
            (("classes",), list, "a list of names"),
        )
        for name in names
        if not isinstance(info.get(name), kinds) and info.get(name) is not None
    ]
    if odd:
        name, text = odd[0]
        raise ArtifactError(
            f"{path / INFO} states {name} as {str(info[name])[:80]!r}",
            required=text,
            fix="export it again with --force",
        )
    validate_recipe(info["recipe"])
    return Exported(path, manifest, info)


@dataclass(frozen=True)
class ExportPair:
    """A baseline and a candidate of one region; `not_judged` names other candidates of it."""

    baseline: Exported
    candidate: Exported
    not_judged: tuple[str, ...] = ()

    @property
    def region(self) -> str:
        """The region of both."""
        return self.candidate.region
