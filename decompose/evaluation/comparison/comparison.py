"""The verb `compare`: methods, seeds and training fractions in one harness, on the same split and the same teacher."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lorkit.decompose.artifacts import digest_json, exclusive, read_json, write_json, write_manifest, write_text
from lorkit.decompose.config import Config, config_digest
from lorkit.decompose.config.schema import SEEDS
from lorkit.decompose.data import RegionSamples, read_regions, split_regions
from lorkit.decompose.data.fractions import check_fraction
from lorkit.decompose.errors import BusyError, UsageError, unknown
from lorkit.decompose.evaluation.comparison.cells import Cell, bench_of, run_cell, stored_cells
from lorkit.decompose.evaluation.comparison.compared_methods import Arm, arms_of, check_arms
from lorkit.decompose.evaluation.comparison.paired_differences import Contrasts
from lorkit.decompose.evaluation.comparison.results import Standings, judge
from lorkit.decompose.evaluation.comparison.results import Teacher as Judged
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.methods import get_method, needs_foundation
from lorkit.decompose.models.foundation.model import Foundation
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.foundation.pretraining import foundation_for, with_probes
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.plan import check_distillation, check_feature_cache

METHODS = ("stl", "mtl", "lorkd")
SPLITS = ("test", "val")
# Seconds between two looks at what another process is making.
PATIENCE = 1.0

Pages = Callable[[Mapping[str, Any]], Mapping[str, str]]
"""Makes further files of a document: contents by the ending of their names, as `.md`."""
Key = tuple[str, int, float]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """What was asked for."""

    arms: Sequence[Arm]
    seeds: Sequence[int]
    fractions: Sequence[float]

    @property
    def keys(self) -> list[Key]:
        """Label, seed and fraction of every cell, in the order of training."""
        cells = itertools.product(self.fractions, self.seeds, self.arms)
        return [(arm.label, seed, fraction) for fraction, seed, arm in cells]


def compare(
    config: Config,
    *,
    methods: Sequence[str] = METHODS,
    variants: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    fractions: Sequence[float] = (1.0,),
    split: str = "test",
    out: Path | str = Path("comparisons"),
    pages: Pages | None = None,
    teacher: Teacher | None = None,
    on_event: Listener = ignore,
) -> dict[str, Any]:
    """Train and judge every combination and compare the arms on the same cases.

    Data, split and foundation are those of `config` (its seed decides them) for every cell; a cell's own seed decides
    initial weights, order, augmentation and which groups a fraction below 1 takes. The foundation is given, as in
    the papers: it has seen the whole training part, whatever the fraction. Finished cells are kept below
    `<out>/<id>/cells` and used again, so the same call continues an interrupted comparison and a longer list extends
    a finished one. Calls may run side by side: a cell that another process trains is left to it and read afterwards.

    Args:
        config: What all arms have in common.
        methods: Methods as the configuration has them.
        variants: `LABEL:METHOD:key=value,key=value`: arms with settings of their own.
        seeds: Repetitions.
        fractions: Of the training groups.
        split: `test`, or `val` to choose settings: the test part is then not even prepared.
        out: Directory of comparisons.
        pages: Makes further files of the stored document.
        teacher: A foundation of the user's own, in place of one that `config` can name.
        on_event: Receives progress.

    Returns:
        A `compare` document over what was asked for. `<out>/<id>/comparison.json` (`comparison-val.json`) holds one
        over everything that was ever finished of this comparison. `rows`: one a cell, its figures by region;
        `parameters`, `macs` and `deployed_bytes` of what one region deploys; `training_parameters` and `training_macs`
        of the networks while they are trained; `train_seconds` without the foundation's. `pairs`: for each two arms
        and fraction, and for the foundation and each arm, what the second (`candidate`) loses against the first
        (`baseline`) in balanced accuracy on the same cases and seeds, with 95 % intervals over both, and how many
        regions it wins and loses. `table`: means over seeds. `foundation`: the teacher
        itself, where a method needs one.

    Raises:
        UsageError: An unknown or repeated arm or split, no seed or one out of range, or a fraction outside (0, 1].
        MissingRuntimeError: A method needs a library that is not installed.
    """
    for method in methods if teacher is not None else ():
        resolve_foundation(
            config.model_copy(update={"method": method}), teacher
        )  # refuses what cannot have such a foundation
    config = resolve_foundation(config.model_copy(update={"method": METHODS[0]}), teacher)
    grid = _Grid(arms=arms_of(config, methods, variants), seeds=seeds, fractions=fractions)
    _check(grid, split)
    for text in check_arms(grid.arms):
        on_event(Notice(text=text))
    work = _Comparison(config, grid, split, Path(out), on_event, teacher)
    document = work.run()
    if work.fabric.is_global_zero:
        patiently(lambda: work.store(pages), on_event)
    return document


def _check(grid: _Grid, split: str) -> None:
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    for name, values in (("seeds", grid.seeds), ("fractions", grid.fractions)):
        if not values or len(set(values)) != len(values):
            raise UsageError(
                f"--{name} {','.join(map(str, values))}", required="one or more distinct values", fix="correct the list"
            )
    for seed in grid.seeds:
        if not 0 <= seed < SEEDS:
            raise UsageError(f"--seeds {seed}", required=f"0 to {SEEDS - 1}", fix="correct the list")
    for fraction in grid.fractions:
        if not 0 < fraction <= 1:
            raise UsageError(f"--fractions {fraction:g}", required="above 0, at most 1", fix="correct the list")


def _identity(config: Config, samples: Mapping[str, RegionSamples]) -> str:
    """Digest what all cells share, so that a longer list of methods finds the cells of a shorter one."""
    settings = config_digest(config.model_copy(update={"method": METHODS[0]}))
    return digest_json({"settings": settings, "data": {name: one.digest for name, one in samples.items()}})


def _earlier_arms(document: Path, grid: _Grid) -> list[dict[str, Any]]:
    """Return the arms that earlier calls compared and this one does not ask for.

    Raises:
        UsageError: One of them has a label of this call and other settings.
    """
    stored = read_json(document, kind="compare")["arms"] if document.is_file() else []
    asked = {arm.label: arm for arm in grid.arms}
    for earlier in stored:
        arm = asked.get(earlier["label"])
        # equal settings with another digest: a method whose own constants have changed since; its old cells rest
        same = arm is not None and (arm.config.method, list(arm.settings)) == (earlier["method"], earlier["settings"])
        if arm is not None and arm.digest != earlier["digest"] and not same:
            settings = ",".join(earlier["settings"]) or "no settings"
            raise UsageError(
                f"label '{arm.label}' stands for {earlier['method']} with {settings} in {document.parent}",
                required="one meaning a label",
                fix="give the variant another label",
            )
    return [earlier for earlier in stored if earlier["label"] not in asked]


class _Comparison:
    """One call: what its cells share is read when it begins."""

    def __init__(
        self, config: Config, grid: _Grid, split: str, out: Path, on_event: Listener, teacher: Teacher | None
    ) -> None:
        self.config, self.grid, self.on_event, self.own_teacher = config, grid, on_event, teacher
        samples = read_regions(config, on_event)
        splits = split_regions(samples, config.split, seed=config.seed)
        self.directory = out / f"{config.name}-{_identity(config, samples)[:8]}"
        self.path = self.directory / ("comparison.json" if split == "test" else f"comparison-{split}.json")
        self.foundations = out.parent / "foundations"
        earlier = _earlier_arms(self.path, grid)  # before anything is trained
        regions = RegionSet(one.region for one in samples.values())
        counts = {name: len(splits.parts(name)["train"]) for name in regions.names}
        for arm in grid.arms:
            method = get_method(arm.config.method)
            check_distillation(arm.config, method, regions, counts, teacher)
            check_feature_cache(arm.config, method, regions, splits, self.foundations, teacher)
        self.fabric = launch(config.train)
        self.bench = replace(bench_of(config, samples, splits, split, teacher, on_event), foundations=self.foundations)
        for seed, fraction in itertools.product(grid.seeds, grid.fractions):
            for one in self.bench.material.train.values():
                check_fraction(one, fraction, seed=seed)
        self.contrasts = Contrasts(self.bench.judged)
        self.teacher: Judged | None = None
        self._teach([*(arm.to_json() for arm in grid.arms), *earlier])

    def run(self) -> dict[str, Any]:
        """Run all cells and return the document over them."""
        cells = self._cells()
        entries = [(label, cells[label, seed, fraction]) for label, seed, fraction in self.grid.keys]
        return self._document([arm.to_json() for arm in self.grid.arms], entries)

    def store(self, pages: Pages | None) -> None:
        """Write the document over every finished cell: those of this call, of earlier ones and of others beside it."""
        with exclusive(self.directory):
            arms = [*_earlier_arms(self.path, self.grid), *(arm.to_json() for arm in self.grid.arms)]
            self._teach(arms)
            entries = [
                (arm["label"], cell)
                for cell in stored_cells(self.directory / "cells", self.bench)
                for arm in arms
                if arm["digest"] == cell.arm
            ]
            labels = [arm["label"] for arm in arms]
            entries.sort(key=lambda entry: (-entry[1].row["fraction"], entry[1].row["seed"], labels.index(entry[0])))
            document = self._document(arms, entries)
            write_json(self.path, document)
            for ending, text in (pages(document) if pages is not None else {}).items():
                write_text(self.path.with_suffix(ending), text)
            synthetic = self.bench.material.regions.synthetic
            write_manifest(self.directory, "comparison", synthetic=synthetic, outside=("cells",))

    def _document(self, arms: Sequence[dict[str, Any]], entries: Sequence[tuple[str, Cell]]) -> dict[str, Any]:
        standings = Standings(self.directory.name, self.bench, self.teacher, self.contrasts)
        return standings.document(arms, entries)

    def _teach(self, arms: Sequence[Mapping[str, Any]]) -> None:
        """Fetch the foundation, pre-trained where it is not there, as soon as an arm needs it."""
        if self.teacher is not None or not any(needs_foundation(get_method(arm["method"])) for arm in arms):
            return
        training_data = self.bench.material

        def fetch() -> Foundation:
            shared = (self.config, training_data, self.foundations, self.fabric, self.on_event)
            return foundation_for(*shared, resume=True, teacher=self.own_teacher)[0]

        foundation = with_probes(patiently(fetch, self.on_event), training_data, self.on_event)
        self.bench = replace(self.bench, foundation=foundation)
        self.teacher = judge(foundation, self.bench)

    def _cells(self) -> dict[Key, Cell]:
        """Run all cells; those that another process trains are tried again after the others."""
        cells: dict[Key, Cell] = {}
        keys = self.grid.keys
        for index, key in enumerate(keys):
            self.on_event(Notice(text=f"cell {index + 1} of {len(keys)}: {_words(key)}"))
            if (cell := self._cell(key)) is not None:
                cells[key] = cell
            else:
                text = f"another process trains {_words(key)}: its result is read when it is there"
                self.on_event(Notice(text=text))
        while len(cells) < len(keys):
            found = {key: cell for key in keys if key not in cells and (cell := self._cell(key)) is not None}
            cells |= found
            if not found:
                time.sleep(PATIENCE)
        return cells

    def _cell(self, key: Key) -> Cell | None:
        """Run a cell; None while another process trains it."""
        label, seed, fraction = key
        arm = next(arm for arm in self.grid.arms if arm.label == label)
        try:
            return run_cell(arm, seed, fraction, self.bench, self.directory / "cells", self.fabric, self.on_event)
        except BusyError:
            if self.fabric.world_size > 1:  # its other processes wait for this one at a barrier
                raise
            return None


def _words(key: Key) -> str:
    label, seed, fraction = key
    return f"{label}, seed {seed}, fraction {fraction:g}"


def patiently(action: Callable[[], T], on_event: Listener) -> T:
    """Do something as soon as no other process does it."""
    told = False
    while True:
        try:
            return action()
        except BusyError as error:
            if not told:
                on_event(Notice(text=f"{error.given}: waiting for it"))
            told = True
            time.sleep(PATIENCE)
