"""Selections: which networks a command is asked for, by region, target, profile and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.artifacts import read_manifest
from lorkit.decompose.errors import ArtifactError


@dataclass(frozen=True, kw_only=True)
class ExportSelection:
    """Selection of exports of a run; None matches any.

    Attributes:
        region: Names separated by commas, or "all".
        target: Deployment format.
        profile: Hardware.
        precision: Number format.
    """

    region: str | None = None
    target: str | None = None
    profile: str | None = None
    precision: str | None = None

    @property
    def any_build(self) -> bool:
        """Whether target, profile and precision are all open."""
        return self.target is self.profile is self.precision is None

    @property
    def several(self) -> bool:
        """Whether `region` names several regions."""
        return self.region is not None and (self.region == "all" or "," in self.region)

    def matches(self, region: str, target: str, profile: str, precision: str) -> bool:
        """Return whether an export of this region, target, profile and precision matches."""
        build = zip((self.target, self.profile, self.precision), (target, profile, precision), strict=True)
        return selects(self.region, region) and all(wanted in (None, given) for wanted, given in build)

    def describe(self) -> str:
        """Return what it asks for, as in `region 'chest', onnx, fp32`."""
        region = [] if self.region in (None, "", "all") else [f"region '{self.region}'"]
        return ", ".join([*region, *filter(None, (self.target, self.profile, self.precision))])


def selects(selection: str | None, region: str) -> bool:
    """Return whether a `--region` option names a region; None, an empty text and `all` name every one."""
    return selection in (None, "", "all") or region in [name.strip() for name in str(selection).split(",")]


def require_region(expert: Path, selection: str | None) -> Path:
    """Return the path of an extracted network; raise ArtifactError if a `--region` beside it names other regions."""
    region = str(read_manifest(expert, verify=False).extra.get("region"))
    if not selects(selection, region):
        raise ArtifactError(
            f"{expert} is of region '{region}'",
            required=f"a network of region '{selection}'",
            fix="name another path, or leave --region out",
        )
    return expert
