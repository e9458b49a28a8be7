"""Find runs, experts and exports on disk: one directory per run contains all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorkit.decompose.artifacts import DERIVED, MANIFEST, Manifest, read_manifest, sweep
from lorkit.decompose.artifacts.places import HOMES, NETWORK, RUN
from lorkit.decompose.documents.base import Owner, TeacherRow
from lorkit.decompose.documents.given import GivenInfo
from lorkit.decompose.documents.heads import MIXTURES
from lorkit.decompose.errors import ArtifactError, UsageError, unknown
from lorkit.decompose.events import EpochRow
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.runs.leftovers import sweep_run
from lorkit.decompose.runs.listing import GIVEN_INFO, NETWORKS, RUNS, list_runs
from lorkit.decompose.runs.record import check_record
from lorkit.decompose.runs.selection import ExportSelection

if TYPE_CHECKING:
    from lorkit.decompose.config import Config
    from lorkit.decompose.documents.evaluate import ModelName

OWNERS: tuple[Owner, ...] = ("expert", "foundation", "student")
"""Owners of exported networks."""
MODELS: tuple[ModelName, ...] = ("experts", "student", "foundation")
"""Names of the owners' networks in `evaluate` and the report."""
_AGAIN = "train again with --force"
# Written into a run directory by later commands; not part of the run's manifest.
OUTSIDE = (*DERIVED, "checkpoints", "tensorboard")


@dataclass(frozen=True)
class Run:
    """One finished decomposition, or a network that lorkit did not train, with `network` where its runtime is open."""

    path: Path
    manifest: Manifest
    network: Any = field(default=None, repr=False, compare=False)

    @property
    def id(self) -> str:
        """The name of its directory."""
        return self.path.resolve().name

    @cached_property
    def given(self) -> GivenInfo | None:
        """The description of a network that lorkit did not train; None of a run."""
        return GivenInfo.read(self.path / GIVEN_INFO) if self.manifest.kind == NETWORK else None

    @property
    def place(self) -> str:
        """Its directory in commands that are shown: names, and no path of this machine."""
        return f"{RUNS if self.manifest.kind == RUN else NETWORKS}/{self.id}"

    @property
    def selector(self) -> str:
        """What `--run` is given in commands that are shown."""
        return self.id if self.manifest.kind == RUN else self.place

    @cached_property
    def config(self) -> Config:
        """The resolved configuration that it was trained with."""
        from lorkit.decompose.config import load_config

        return load_config(self.path / "config.yaml")

    @cached_property
    def _regions(self) -> dict[str, Any]:
        """The document `regions.json`."""
        try:
            found: dict[str, Any] = json.loads((self.path / "regions.json").read_text(encoding="utf-8"))
            RegionSet.from_json(found["regions"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtifactError(
                f"{self.path / 'regions.json'} cannot be read ({type(error).__name__})",
                required="an intact run",
                fix=_AGAIN,
            ) from None
        return found

    @cached_property
    def regions(self) -> RegionSet:
        """Its regions in routing order."""
        return RegionSet.from_json(self._regions["regions"])

    @cached_property
    def synthetic(self) -> bool:
        """Whether anything in it was trained on drawn images, by `regions.json`, which has a digest, or the manifest.

        Raises:
            ArtifactError: The manifest, which has none, takes back what `regions.json` says.
        """
        if (stated := self._regions.get("synthetic") is True or self.regions.synthetic) and not self.manifest.synthetic:
            raise ArtifactError(
                f"{self.path}: synthetic is {self.manifest.synthetic} in {MANIFEST} and {stated} in regions.json",
                required="a run whose files agree",
                fix="restore it, or train again with --force",
            )
        return self.manifest.synthetic

    def unlabelled(self, region: str) -> dict[str, int]:
        """Return how many images without labels it was taught with, as the part `unlabelled`; empty for none."""
        found = self.manifest.extra.get("unlabelled", {}).get(region)
        return {"unlabelled": int(found["n"])} if found else {}

    def teachers(self, regions: Sequence[str]) -> list[TeacherRow]:
        """Return what its manifest says of several teachers in some regions; empty for one teacher or none."""
        return [
            TeacherRow(
                backbone=row["backbone"],
                digest=row["digest"],
                val_scores={name: row["val"][name] for name in regions if name in row["val"]},
                share={name: row["share"][name] for name in regions if name in row["share"]},
            )
            for row in self.manifest.extra.get("teachers", [])
        ]

    @property
    def metrics(self) -> list[EpochRow]:
        """The rows of `metrics.jsonl`, one per phase and epoch; none without the file."""
        path = self.path / "metrics.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            return [json.loads(line) for line in lines if line.strip()]
        except ValueError:
            raise ArtifactError(f"{path} is not JSON lines", required="an intact run", fix=_AGAIN) from None

    @property
    def has_foundation(self) -> bool:
        """Whether it was made with a foundation; its manifest says so where it was not."""
        return bool(self.manifest.extra.get("foundation", True))

    @property
    def foundation_dir(self) -> Path:
        """Directory of the frozen foundation model of the run."""
        return self.path / "foundation"

    @property
    def experts_dir(self) -> Path:
        """Directory of extracted experts."""
        return self.path / "experts"

    @property
    def exports_dir(self) -> Path:
        """Directory of exports."""
        return self.path / "exports"

    @property
    def measurements_dir(self) -> Path:
        """Directory of the results of evaluate, bench and gate."""
        return self.path / "measurements"

    @property
    def report_dir(self) -> Path:
        """Directory of the report."""
        return self.path / "report"


@dataclass(frozen=True, kw_only=True)
class ExportEntry:
    """One export of a run, with owner, region, target, profile and precision."""

    path: Path
    owner: str
    region: str
    target: str
    profile: str
    precision: str


ALL_EXPORTS = ExportSelection()


def open_run(selector: str | Path | None = None, root: Path = RUNS) -> Run:
    """Open a run (or a given network) by path or id, or the newest run; check every file of it and what they say.

    Raises:
        UsageError: There is no such run; the message names the existing ones.
        ArtifactError: It is damaged, or its documents name different regions.
    """
    if isinstance(selector, Run):
        return selector
    if selector is None:
        runs = list_runs(root)
        if not runs:
            raise UsageError(
                f"no finished run in {root}/",
                required="a run",
                fix="start one with `decompose train`, or name --run PATH",
            )
    path = runs[0] if selector is None else _locate(str(selector), root)
    sweep_run(path)
    kind = read_manifest(path, verify=False).kind
    run = Run(path, read_manifest(path, kind=kind if kind in HOMES else RUN))
    check_record(run.manifest)
    return run


def _locate(selector: str, root: Path) -> Path:
    for path in (Path(selector), root / selector, NETWORKS / selector):
        sweep(path.parent)
        if (path / MANIFEST).is_file():
            return path
        if (path.parent / f".{path.name}.training" / "checkpoints").is_dir():  # see `work_directory`
            raise UsageError(
                f"run {path} is not finished",
                required="a finished run",
                fix="continue it with `decompose train --resume`",
            )
    raise unknown("run", selector, [path.name for path in list_runs(root)])


def experts_of(run: Run, region: str | None = None) -> dict[str, Path]:
    """Return the directories of the extracted experts of a selection of regions, in routing order.

    The networks for all regions come last, `router` and `region-id`.

    Raises:
        UsageError: A region is unknown, or its expert (or, for all, any expert) has not been extracted.
    """
    everything = region in (None, "", "all")
    wanted = select_networks(run, region)
    found = {name: run.experts_dir / name for name in wanted if (run.experts_dir / name / MANIFEST).is_file()}
    missing = [name for name in wanted if name not in found and not (everything and name in MIXTURES)]
    if missing and (not everything or not found):
        regions = [name for name in missing if name not in MIXTURES]
        options = [f"--region {'all' if everything else ','.join(regions)}"] if regions else []
        options += [f"--{name}" for name in missing if name in MIXTURES]
        raise UsageError(
            f"no extracted expert for {', '.join(missing)} in {run.path}",
            required="an extracted expert",
            fix=f"run `decompose extract {' '.join(options)}` first",
        )
    return found


def export_directory(run: Run, owner: str, region: str, target: str, profile: str, precision: str) -> Path:
    """Return the directory of one export of a run."""
    root = run.exports_dir if owner == "expert" else run.exports_dir / owner
    return root / region / f"{target}-{profile}-{precision}"


def exports_of(
    run: Run, selection: ExportSelection = ALL_EXPORTS, *, owners: Sequence[str] = OWNERS
) -> list[ExportEntry]:
    """Return the exports of a run that match a selection, by region, owner and path; UsageError for unknown regions.

    Those of networks for all regions (`MIXTURES`) come last; their names select them as regions do.
    """
    return [
        entry
        for name in select_networks(run, selection.region)
        for owner in owners
        for path in sorted(export_directory(run, owner, name, "*", "*", "*").parent.glob(f"*/{MANIFEST}"))
        if (entry := _entry(path.parent, owner, name)) is not None
        and selection.matches(entry.region, entry.target, entry.profile, entry.precision)
    ]


def select_networks(run: Run, selection: str | None) -> tuple[str, ...]:
    """Return the regions and the networks for all of them that a `--region` option names; UsageError if unknown."""
    if selection in (None, "", "all"):
        return (*run.regions.names, *MIXTURES)
    names = [name.strip() for name in str(selection).split(",")]
    regions = [name for name in names if name not in MIXTURES]
    known = run.regions.select(",".join(regions)).names if regions else ()
    return (*known, *(name for name in MIXTURES if name in names))


def _entry(path: Path, owner: str, region: str) -> ExportEntry | None:
    """Read an export's description: names of targets and profiles have hyphens, so the path is ambiguous."""
    if path.name.startswith("."):  # it is being built, and may be gone before it is read
        return None
    manifest = read_manifest(path, verify=False)
    if manifest.kind != "export":
        return None
    extra = manifest.extra
    return ExportEntry(
        path=path,
        owner=owner,
        region=region,
        target=str(extra.get("target", "")),
        profile=str(extra.get("profile", "")),
        precision=str(extra.get("precision", "")),
    )


def missing_baseline(run: Run | None) -> str | None:
    """Return the reason why a run's foundation is not exported; None if it can be, or if there is none."""
    if run is None or not (run.foundation_dir / MANIFEST).is_file():
        return None
    extra = read_manifest(run.foundation_dir, verify=False).extra
    return str(extra["reason"]) if extra.get("exportable") is False else None
