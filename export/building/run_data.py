"""The data of the runs that networks are exported from: splits opened once, images to compare on, and thresholds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.documents.base import Owner
from lorkit.decompose.documents.network import Decision
from lorkit.decompose.documents.verify import ImageKind
from lorkit.decompose.errors import LorkitError
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.tasks import get_task
from lorkit.export.runtime.batch_size import HELD_BYTES, fitting
from lorkit.export.runtime.reference_images import ReferenceImages, mixed, seeded_inputs

if TYPE_CHECKING:
    from lorkit.export.building.sources import ExportableNetwork


class OpenedSplits:
    """The data of runs, opened once per command, so that images are read and hashed once."""

    def __init__(self) -> None:
        self._opened: dict[Path, RunSplits] = {}

    def of(self, run: Run) -> RunSplits:
        """Return the data of a run."""
        return self._opened.setdefault(run.path.resolve(), RunSplits(run))


class ReferenceImageCache:
    """Images to compare networks on: a run's locked split if it can be read, else seeded patterns.

    Few for large images, since their outputs are stored. A network of several regions gets images of each in turn, as
    many as one of a single region, or by region.

    Attributes:
        notes: Reasons for seeded patterns, one line per region.
    """

    def __init__(self, splits: OpenedSplits, *, part: str = "val", count: int = 24, by_region: bool = False) -> None:
        self.splits, self.part, self.count, self.by_region = splits, part, count, by_region
        self.notes: list[str] = []
        self._found: dict[tuple[Path | None, str, tuple[int, ...]], ReferenceImages] = {}

    def of(self, source: ExportableNetwork) -> ReferenceImages:
        """Return images of a source's region, the same for each of its owners."""
        key = (source.run.path if source.run else None, source.region.name, source.shape)
        if key not in self._found:
            self._found[key] = self._read(source)
        return self._found[key]

    def _read(self, source: ExportableNetwork) -> ReferenceImages:
        regions = source.region.each
        most = self.count * (len(regions) if self.by_region else 1)
        count = fitting(source.region, source.shape, most=most, total=HELD_BYTES)
        if source.mixture is None:
            return self._read_region(source, regions[0], count)
        # at least two of each: one alone would not show what another image of its region changes
        share = max(2, -(-count // len(regions)))
        return mixed([self._read_region(source, region, share) for region in regions])

    def _read_region(self, source: ExportableNetwork, region: Region, count: int) -> ReferenceImages:
        seeded = ReferenceImages(images=seeded_inputs(source.shape, count), kind="seeded")
        if source.run is None:
            missing = f"the run of the expert is missing, so its {region.words.cases} are unknown"
            self.notes.append(f"region '{region.name}': {missing}")
            return seeded
        try:
            part = self.splits.of(source.run).part(region.name, self.part, recipe=source.recipe, most=count)
        except LorkitError as error:
            self.notes.append(f"region '{region.name}': its {region.words.cases} cannot be read ({error.given})")
            return seeded
        kind: ImageKind = "phantom" if region.synthetic else "real"
        labels = part.labels if part.masks is None else None
        return ReferenceImages(images=part.images, kind=kind, masks=part.masks, labels=labels)


class DecisionCache:
    """Thresholds of networks: those of an expert, else chosen on the validation part of the run.

    They are unknown, and null in the export, where that part cannot be read.
    """

    def __init__(self, splits: OpenedSplits) -> None:
        self.splits = splits
        self._found: dict[tuple[Path, Owner, str], Decision | None] = {}

    def of(self, source: ExportableNetwork) -> Decision | None:
        """Return the thresholds of a network; None for another task, or where they are unknown."""
        if source.info is not None or source.mixture is not None or source.run is None:
            return None if source.info is None else source.info.decision
        if not get_task(source.region.task).decides:
            return None
        key = (source.run.path, source.owner, source.region.name)
        if key not in self._found:
            self._found[key] = self._decide(source, source.run)
        return self._found[key]

    def _decide(self, source: ExportableNetwork, run: Run) -> Decision | None:
        name = source.region.name
        try:
            val = self.splits.of(run).part(name, "val", recipe=source.recipe)
        except LorkitError:  # the images to compare on are missing too, which the export says
            return None
        from lorkit.decompose.evaluation.thresholds import decide  # with torch

        return decide(source.network, val, run.config.regions[name].threshold)
