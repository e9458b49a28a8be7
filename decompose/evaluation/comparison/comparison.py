"""The command `compare`: methods, seeds and training fractions on one split with one teacher."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path

from lorkit.decompose.artifacts import exclusive, sweep, write_manifest, write_text
from lorkit.decompose.config import Config, to_yaml
from lorkit.decompose.data import RegionSamples, Splits, read_regions, split_regions
from lorkit.decompose.data.fractions import check_fraction
from lorkit.decompose.data.node_samples import nodes_of
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.documents.compare import CompareDocument, MethodRow
from lorkit.decompose.errors import BusyError, unknown
from lorkit.decompose.evaluation.comparison.cells import Cell, run_cell, stored_cells
from lorkit.decompose.evaluation.comparison.compared_methods import (
    OF_IMAGES,
    ComparedMethod,
    check_available,
    compared_methods,
    earlier_methods,
    of_graphs,
    shared_settings,
)
from lorkit.decompose.evaluation.comparison.comparison_data import BUDGETS, Budget, identity_of, prepare_comparison
from lorkit.decompose.evaluation.comparison.controls import NOT_BUILT, with_controls
from lorkit.decompose.evaluation.comparison.graphs import check_fractions, resolve_comparison
from lorkit.decompose.evaluation.comparison.grid import CellKey, Grid, check_grid
from lorkit.decompose.evaluation.comparison.paired_differences import PairedDifferences
from lorkit.decompose.evaluation.comparison.results import ComparisonDocument, EvaluatedFoundation, evaluate_foundation
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.methods import get_method, needs_foundation
from lorkit.decompose.methods.graphs.base import FittedBaseline
from lorkit.decompose.methods.student import resolve_student
from lorkit.decompose.models.foundation.teacher import Teacher
from lorkit.decompose.regions import RegionSet
from lorkit.decompose.training.first_phase import build_first_phase
from lorkit.decompose.training.foundation.further_teachers import open_teachers, resolve_teachers, train_teachers
from lorkit.decompose.training.foundation.pretraining import open_foundation, train_foundation, with_probes
from lorkit.decompose.training.foundation.resolving import resolve_foundation
from lorkit.decompose.training.gradient_check import resolve_for_data
from lorkit.decompose.training.loop.devices import launch
from lorkit.decompose.training.training_data import check_pseudo_labels, read_unlabelled_of
from lorkit.decompose.training.work_directory import POLL_SECONDS, wait_for

# Seconds between two checks on another process.

ExtraFiles = Callable[[CompareDocument], Mapping[str, str]]
"""Returns further files of a document: contents by suffix, such as `.md`."""


def compare(
    config: Config,
    *,
    methods: Sequence[str] | None = None,
    variants: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    fractions: Sequence[float] = (1.0,),
    split: str = "test",
    budget: str = "steps",
    controls: bool = False,
    out: Path | str = Path("comparisons"),
    pages: ExtraFiles | None = None,
    teacher: Teacher | None = None,
    on_event: Listener = ignore,
) -> CompareDocument:
    """Train and score every combination and compare the methods on the same cases.

    All cells share the data, split and foundation of `config` (its seed decides them). A cell's seed decides initial
    weights, order, augmentation and the groups of a fraction below 1. As in the papers, the foundation is trained on
    the whole training part for every fraction. Finished cells are stored in `<out>/<id>/cells` and reused, so that the
    same call continues an interrupted comparison and a longer list extends a finished one. Concurrent calls are
    possible: a cell that another process trains is read afterwards.

    Args:
        config: Settings that all methods share.
        methods: Methods as configured, or an ablation of RAGFormer (`methods.ragformer.ABLATIONS`). By default
            `compared_methods.OF_IMAGES` or, of graphs, `OF_GRAPHS`.
        variants: `LABEL:METHOD:key=value,key=value`: methods with their own settings.
        seeds: Repetitions.
        fractions: Of the training groups.
        split: `test`, or `val` to choose settings; the test part is then not prepared.
        budget: `steps` gives methods with a network per region the optimiser steps of the joint training; with `epochs`
            a small region gets few steps.
        controls: Whether to add the controls of methods that learn from the foundation (`comparison.controls`).
        out: Directory of comparisons.
        pages: Writes further files from the stored document.
        teacher: The user's own foundation, instead of that of `config`.
        on_event: Receives progress.

    Returns:
        A `compare` document of the requested cells. `<out>/<id>/comparison.json` (`comparison-val.json`) is a
        document of all finished cells of this comparison, and `config.yaml` repeats it. `rows`: one per cell,
        with results by region; `parameters`, `macs` and `deployed_bytes` of the deployed network of one region;
        `training_parameters` and `training_macs` of the networks in training; `train_seconds` without the
        foundation. `compared_pairs`: for each two methods and fraction, and for the foundation and each method, the
        drop in balanced accuracy from the first (`baseline`) to the second (`candidate`), paired by case and seed, with
        95 % intervals and regions won and lost. `table`: means over seeds. `foundation`: the teacher, if needed.

    Raises:
        UsageError: An unknown or repeated method, an unknown split or budget, no seed or one out of range, or a
            fraction outside (0, 1].
        MissingRuntimeError: A method needs a library that is not installed.
    """
    config, graphs = shared_settings(config, on_event), of_graphs(config)
    if not graphs:  # of graphs once their data are read
        config = resolve_student(config)
        for method in (methods or OF_IMAGES) if teacher is not None else ():
            resolve_foundation(config.model_copy(update={"method": method}), teacher)  # raises if it is unsuitable
        config = resolve_teachers(resolve_foundation(config, teacher))
    grid = Grid(methods=compared_methods(config, methods, variants), seeds=seeds, fractions=fractions)
    if controls:
        if teacher is not None:
            on_event(Notice(text=NOT_BUILT))
        grid = replace(grid, methods=with_controls(config, grid.methods, own_teacher=teacher is not None))
    check_grid(grid, split)
    if graphs:
        check_fractions(grid.fractions)
    chosen: Budget | None = next((one for one in BUDGETS if one == budget), None)
    if chosen is None:
        raise unknown("budget", budget, BUDGETS)
    for text in check_available(grid.methods):
        on_event(Notice(text=text))
    comparison = _Comparison(config, grid, split, Path(out), on_event, teacher, chosen)
    document = comparison.run()
    if comparison.fabric.is_global_zero:
        wait_for(lambda: comparison.store(pages), on_event)
    return document


def _resolved(compared: ComparedMethod, regions: RegionSet, counts: Mapping[str, int]) -> ComparedMethod:
    config = compared.config
    return replace(compared, config=resolve_for_data(config, get_method(config.method), regions, counts))


class _Comparison:
    """One call of `compare`; shared data are read on construction."""

    def __init__(
        self,
        config: Config,
        grid: Grid,
        split: str,
        out: Path,
        on_event: Listener,
        teacher: Teacher | None,
        budget: Budget,
    ) -> None:
        self.config = self.given = config
        self.grid, self.on_event = grid, on_event
        self.pseudonyms = Pseudonyms(create=True)
        samples = read_regions(config, on_event, self.pseudonyms)
        splits = split_regions(samples, config.split, seed=config.seed)
        self.directory = out / f"{config.name}-{identity_of(config, samples, budget)[:8]}"
        self.path = self.directory / ("comparison.json" if split == "test" else f"comparison-{split}.json")
        self.foundations = out.parent / "foundations"
        if nodes_of(samples):
            found = resolve_comparison(config, grid.methods, samples, splits, teacher, on_event)
            self.config, config, samples = found.config, found.config, found.samples
            grid = replace(grid, methods=found.methods)
        regions = RegionSet(one.region for one in samples.values())
        counts = {name: len(splits.parts(name)["train"]) for name in regions.names}
        digests = {name: one.digest for name, one in samples.items()}
        self.grid = grid = replace(grid, methods=[_resolved(one, regions, counts) for one in grid.methods])
        earlier = earlier_methods(self.path, grid.methods)  # before anything is trained
        self._open = cache(partial(open_foundation, config, regions, digests, self.foundations, teacher=teacher))
        self._open_further = cache(partial(open_teachers, config, regions, digests, self.foundations))
        for compared in grid.methods:
            method = get_method(compared.config.method)
            if isinstance(method, FittedBaseline) or compared.random_teacher:  # the latter is built as its method is
                continue
            foundation = self._open().foundation if needs_foundation(method) else None
            opened = self._open_further() if method.uses_teacher and compared.config.teachers else ()
            further = [one.foundation for one in opened]
            # refuse what cannot be trained
            build_first_phase(compared.config, method, foundation, regions, counts, self.foundations, further)
        self.fabric = launch(config.train)
        unlabelled = self._unlabelled(config, samples, splits)
        shared = (config, samples, splits, split, teacher, on_event, budget, unlabelled)
        self.data = replace(prepare_comparison(*shared), foundations=self.foundations)
        for seed, fraction in product(grid.seeds, grid.fractions):
            for one in self.data.training_data.train.values():
                check_fraction(one, fraction, seed=seed)
        self.differences = PairedDifferences(self.data.scored_part)
        self.evaluated: EvaluatedFoundation | None = None
        self._evaluate_foundation([*(compared.row for compared in grid.methods), *earlier])

    def _unlabelled(
        self, config: Config, samples: Mapping[str, RegionSamples], splits: Splits
    ) -> dict[str, RegionSamples]:
        """Read the unlabelled samples if a method uses them."""
        learning = [one for one in self.grid.methods if one.uses_unlabelled]
        for one in learning:
            named = [name for name in samples if one.config.unlabelled.rest or config.regions[name].unlabelled]
            check_pseudo_labels(one.config.unlabelled, {name: samples[name].task for name in named})
        shared = (samples, splits, self.on_event, self.pseudonyms)
        method = get_method(learning[0].config.method) if learning else None
        return {} if method is None else read_unlabelled_of(config, method, *shared, compared=True)

    def run(self) -> CompareDocument:
        """Run all cells and return their document."""
        sweep(self.directory / "cells")  # finished cells are not opened to write again
        cells = self._cells()
        entries = [(label, cells[label, seed, fraction]) for label, seed, fraction in self.grid.keys]
        return self._document([compared.row for compared in self.grid.methods], entries)

    def store(self, pages: ExtraFiles | None) -> None:
        """Write the document of all finished cells: of this call, of earlier and of concurrent ones."""
        with exclusive(self.directory):
            methods = [
                *earlier_methods(self.path, self.grid.methods),
                *(compared.row for compared in self.grid.methods),
            ]
            self._evaluate_foundation(methods)
            entries = [
                (compared.label, cell)
                for cell in stored_cells(self.directory / "cells", self.data)
                for compared in methods
                if compared.digest == cell.method_digest
            ]
            labels = [compared.label for compared in methods]
            entries.sort(key=lambda entry: (-entry[1].row.fraction, entry[1].row.seed, labels.index(entry[0])))
            document = self._document(methods, entries)
            document.write(self.path)
            write_text(self.directory / "config.yaml", to_yaml(self.given))
            for ending, text in (pages(document) if pages is not None else {}).items():
                write_text(self.path.with_suffix(ending), text)
            write_manifest(self.directory, "comparison", synthetic=document.synthetic, outside=("cells",))

    def _document(self, methods: Sequence[MethodRow], entries: Sequence[tuple[str, Cell]]) -> CompareDocument:
        document = ComparisonDocument(self.directory.name, self.data, self.evaluated, self.differences)
        return document.build(methods, entries)

    def _evaluate_foundation(self, methods: Sequence[MethodRow]) -> None:
        """Get the foundation, pre-trained if missing, as soon as a method needs it."""
        if self.evaluated is not None or not any(needs_foundation(get_method(row.method)) for row in methods):
            return
        training_data = self.data.training_data
        shared = (self.config, training_data, self.fabric, self.on_event)
        found = train_foundation(self._open(), *shared, resume=True)
        foundation = with_probes(found, training_data, self.on_event)
        opened = self._open_further() if any(get_method(row.method).uses_teacher for row in methods) else ()
        further = train_teachers(opened, *shared)
        self.data = replace(self.data, foundation=foundation, further=further)
        self.evaluated = evaluate_foundation(foundation, self.data)

    def _cells(self) -> dict[CellKey, Cell]:
        """Run all cells; those in training by another process are tried again at the end."""
        cells: dict[CellKey, Cell] = {}
        keys = self.grid.keys
        for index, key in enumerate(keys):
            self.on_event(Notice(text=f"cell {index + 1} of {len(keys)}: {_cell_name(key)}"))
            if (cell := self._cell(key)) is not None:
                cells[key] = cell
            else:
                text = f"another process trains {_cell_name(key)}: its result is read when it is finished"
                self.on_event(Notice(text=text))
        while len(cells) < len(keys):
            found = {key: cell for key in keys if key not in cells and (cell := self._cell(key)) is not None}
            cells |= found
            if not found:
                time.sleep(POLL_SECONDS)
        return cells

    def _cell(self, key: CellKey) -> Cell | None:
        """Run a cell; None while another process trains it."""
        label, seed, fraction = key
        compared = next(compared for compared in self.grid.methods if compared.label == label)
        try:
            return run_cell(compared, seed, fraction, self.data, self.directory / "cells", self.fabric, self.on_event)
        except BusyError:
            if self.fabric.world_size > 1:  # its other processes wait for this one at a barrier
                raise
            return None


def _cell_name(key: CellKey) -> str:
    label, seed, fraction = key
    return f"{label}, seed {seed}, fraction {fraction:g}"
