"""Places: whether an artifact in a run is that of the region, the owner and the run where it lies.

A run keeps its networks by region, `experts/<region>` and `exports/[<owner>/]<region>/<build>`. A directory that was
renamed, or copied from another run, would be served as something that it is not. Elsewhere a path names no region, and
an artifact is what its manifest says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lorkit.decompose.artifacts.files import digest_file, read_json
from lorkit.decompose.errors import ArtifactError

RUN, NETWORK = "run", "network"
"""Kinds of directories that hold exports and what was measured: what lorkit trained, and what it was given."""
HOMES = (RUN, NETWORK)
_MANIFEST = "manifest.json"
_EXPERT = "expert"
_KINDS = {"experts": ("expert", "mixture"), "exports": ("export",)}


class Place(NamedTuple):
    """What a directory of a run is for.

    Attributes:
        run: The run's directory.
        kinds: Kinds of artifacts that lie there.
        owner: expert, foundation or student.
        region: The region, or the name of a network for all regions.
    """

    run: Path
    kinds: tuple[str, ...]
    owner: str
    region: str


def is_given(directory: Path) -> bool:
    """Return whether a directory is of a network that lorkit did not train, according to its manifest."""
    return (directory / _MANIFEST).is_file() and read_json(directory / _MANIFEST).get("kind") == NETWORK


def place_of(directory: Path) -> Place | None:
    """Return the place of a directory in the run around it; None outside of runs, and elsewhere in them.

    The path counts as it is written, so that a link has the place where it lies.
    """
    path = Path(os.path.abspath(directory))
    run = next(filter(_is_run, path.parents), None)
    return None if run is None else _place(run, path.relative_to(run).parts)


def _is_run(directory: Path) -> bool:
    try:
        return (directory / _MANIFEST).is_file() and read_json(directory / _MANIFEST).get("kind") in HOMES
    except ArtifactError:  # other programs write files of this name too
        return False


def _place(run: Path, parts: tuple[str, ...]) -> Place | None:
    kinds = _KINDS.get(parts[0], ())
    if not kinds or any(name.startswith(".") for name in parts):  # hidden directories are being built
        return None
    if parts[0] == "experts":
        return Place(run, kinds, _EXPERT, parts[1]) if len(parts) == 2 else None
    owners = {3: _EXPERT, 4: parts[1]}
    return Place(run, kinds, owners[len(parts)], parts[-2]) if len(parts) in owners else None


def check_place(directory: Path, document: Mapping[str, Any]) -> None:
    """Check a manifest against the place where its artifact lies.

    An export may be of an expert that was extracted anew from the same run; `verify_chain` checks that.

    Raises:
        ArtifactError: It is of another kind, region, owner or run, or what it says it was made from is not that run;
            the message names both.
    """
    _check_link(directory, document)
    place = place_of(directory)
    if place is None:
        return
    extra = document.get("extra") or {}
    # one that states no region is refused by the reader of its document
    kind, region, owner = document.get("kind"), extra.get("region", place.region), extra.get("owner", _EXPERT)
    if kind not in place.kinds or (region, owner) != (place.region, place.owner):
        raise ArtifactError(
            f"{directory} holds the {kind} of region '{region}' ({owner})",
            required=f"the {place.kinds[0]} of region '{place.region}' ({place.owner}), which is what its path says",
            fix="move it back to where it was made, or copy it out of the run and name its path",
        )
    parent = document.get("parent") or {}
    run = extra.get("run", parent.get("sha256") if kind != "export" else None)
    if run is not None and run != digest_file(place.run / _MANIFEST):
        raise ArtifactError(
            f"{place.run} is not the run that {directory} was made from",
            required=f"a manifest with digest {str(run)[:12]}",
            fix=f"rebuild {directory}, or copy it out of the run and name its path",
        )


def _check_link(directory: Path, document: Mapping[str, Any]) -> None:
    """Refuse a report, expert or export in a run whose manifest says that it was made from what is elsewhere.

    Its own manifest has no digest outside it: with another link, its chain would end where nothing is found.
    """
    path = Path(os.path.abspath(directory))
    run = next(filter(_is_run, path.parents), None)
    if run is None:
        return
    parts, kind, link = path.relative_to(run).parts, document.get("kind"), document.get("parent")
    home = run.resolve()
    shown = os.path.normpath(directory / str(link.get("path"))) if isinstance(link, Mapping) else "nothing"
    at = (directory / str(link.get("path"))).resolve() if isinstance(link, Mapping) else None
    if (kind == "report" and parts == ("report",)) or (kind in _KINDS["experts"] and _place(run, parts)):
        found = at == home
    else:
        found = kind != "export" or _place(run, parts) is None or at is None or at.is_relative_to(home)
    if not found:
        raise ArtifactError(
            f"{directory} says that it was made from {shown}",
            required=f"what it was made from, in {run}",
            fix=f"restore it, rebuild {directory}, or copy it out of the run and name its path",
        )
