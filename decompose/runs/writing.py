"""Write a finished run: settings, splits, weights, foundation, metrics, checkpoints, and the manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import SCHEMA_VERSION, write_json, write_manifest, write_text
from lorkit.decompose.config import Config, to_yaml
from lorkit.decompose.events import EpochRow
from lorkit.decompose.models.foundation.model import Foundation, save_foundation
from lorkit.decompose.models.regional import RegionalModel, SeparateModels
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs import OUTSIDE
from lorkit.decompose.runs.live_model import save_model

_HIDDEN = shutil.ignore_patterns(".*")


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """Content of a run directory.

    Attributes:
        config: Resolved settings.
        regions: In routing order.
        splits: The document of `splits.json`.
        live: The trained model.
        foundation: The frozen teacher with a head for every region; None without one.
        rows: Of `metrics.jsonl`, one per epoch.
        synthetic: Whether anything in it was trained on drawn images.
        inputs: Digest of everything that determines it.
        extra: Further plain data of the manifest, such as the `origin` of a run that was made from another artifact.
        checkpoints: Directory of checkpoints to include.
        curves: Directory of TensorBoard's event files to include, if any.
    """

    config: Config
    regions: RegionSet
    splits: Mapping[str, Any]
    live: RegionalModel | SeparateModels
    foundation: Foundation | None
    rows: Sequence[EpochRow]
    synthetic: bool
    inputs: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    checkpoints: Path | None = None
    curves: Path | None = None


def write_run(staging: Path, content: RunContent) -> None:
    """Write a run and its manifest into a staging directory."""
    config, regions, home = content.config, content.regions, staging / "foundation"
    write_text(staging / "config.yaml", to_yaml(config))
    header = {"schema_version": SCHEMA_VERSION}
    about = {**header, "kind": "regions", "synthetic": content.synthetic, "regions": regions.to_json()}
    write_json(staging / "regions.json", about)
    write_json(staging / "splits.json", dict(content.splits))
    write_text(staging / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in content.rows))
    save_model(content.live, staging)
    foundation = None
    if content.foundation is not None:
        foundation = save_foundation(content.foundation, home, synthetic=content.synthetic, inputs=content.inputs)
    for name, kept in (("checkpoints", content.checkpoints), ("tensorboard", content.curves)):
        if kept is not None and kept.is_dir():
            shutil.copytree(kept, staging / name, copy_function=_link, ignore=_HIDDEN)
    alone = {"foundation": False} if content.foundation is None else {}
    write_manifest(
        staging,
        "run",
        synthetic=content.synthetic,
        parent=foundation,
        inputs=content.inputs,
        extra={"method": config.method, "name": config.name, "regions": list(regions.names), **content.extra, **alone},
        outside=OUTSIDE,
    )


def _link(source: str, target: str) -> None:
    """Link a file of the working directory, which is removed right after."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
