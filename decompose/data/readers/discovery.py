"""Find data in a file or below a directory that the readers take, one region per source, to draft a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.data.formats.listing import images_of, is_left_over
from lorkit.decompose.data.formats.npz import keys_of
from lorkit.decompose.data.readers import case_folders, nifti
from lorkit.decompose.data.readers.class_folder import is_unlabelled
from lorkit.decompose.data.readers.folder_layouts import (
    are_classes,
    are_parts,
    folders_of,
    problem_of,
    what_is_there,
)
from lorkit.decompose.data.readers.graph_discovery import FoundGraph, find_graph
from lorkit.decompose.data.readers.graph_files import is_graph
from lorkit.decompose.data.readers.manifest_discovery import FoundTable, find_table, part_in_name
from lorkit.decompose.data.samples.samples import PARTS, SEGMENTATION, known_part
from lorkit.decompose.errors import DataError, LorkitError, MissingDataError, UsageError
from lorkit.decompose.regions import RESERVED

_DEPTH = 6
_GRAPH_TABLES = (".csv", ".tsv", ".parquet", ".pq")


@dataclass(frozen=True)
class FoundSource:
    """One data source.

    Attributes:
        name: Of its region.
        path: File or folder.
        problem: Why it cannot become a region, else empty.
        root: Directory that the paths of a manifest start at, where it is not the manifest's own.
        labels: Columns of 1, 0, -1 or nothing of a manifest: those of a multilabel region.
        label: Column of its labels, if that is not `label`.
        task: Stated where a file has labels and masks.
        masks: Whether its targets are masks.
        graph: The graph that it is, if it is one.
        unlabelled: Folder of that name beside folders of classes.
        parts: Where tables state the parts: of each its table, and the directory of its paths.
    """

    name: str
    path: Path
    problem: str = ""
    root: Path | None = None
    labels: tuple[str, ...] = ()
    label: str | None = None
    task: str | None = None
    masks: bool = False
    graph: FoundGraph | None = None
    unlabelled: Path | None = None
    parts: Mapping[str, tuple[Path, ...]] | None = None


class _Source(NamedTuple):
    path: Path
    problem: str = ""
    table: FoundTable = FoundTable()
    graph: bool = False  # may be one
    sure: bool = True  # a table may also be notes beside images
    unlabelled: Path | None = None
    task: str | None = None
    masks: bool = False
    parts: Mapping[str, tuple[Path, ...]] | None = None


def discover(root: Path, *, label: str | None = None) -> list[FoundSource]:
    """Return the data sources of a file or below a directory, in the order of their paths.

    These are `.npz` files with images and labels, CSV manifests with path and label or columns of labels, and folders
    of class folders; where there are none, graphs: `.npz` and `.mat` files with edges, and tables with columns of
    entities. A region is named after the directory of its only source, else after the source itself.

    Args:
        root: File or directory.
        label: Column of the label of tables, if the user names it.

    Raises:
        DataError: There is no such path, or it has nothing that could become a region.
        UsageError: A label is named for images, or is no column of the only table.
        MissingRuntimeError: The only source is a table, and the extra `graph` is not installed.
    """
    if not root.exists():
        raise MissingDataError(f"no file or directory at {root}", required="data", fix="check the path")
    base = root if root.is_dir() else root.parent
    walk = _Walk(label)
    found = walk.below(root, _DEPTH) if root.is_dir() else walk.files([root], folders_of(base))
    sources = _without_twins(_with_parts(list(found)))
    if any(not source.problem and not source.graph for source in sources):
        if label is not None and not walk.tables:
            raise UsageError(
                f"--label {label} with {root}", required="tables of images or of a graph", fix="leave --label out"
            )
        return _named(base, [_beside_images(source) for source in sources if source.sure])
    entries = [_as_graph(entry, source, label) for entry, source in zip(_named(base, sources), sources, strict=True)]
    entries = _of_one_form(entries)
    if all(entry.problem for entry in entries):
        if root.is_file() and len(sources) == 1 and sources[0].graph:
            find_graph(entries[0].name, root, label=label)  # raises what the problem was
        raise nothing_found(root, entries)
    return entries


def nothing_found(root: Path, entries: Sequence[FoundSource]) -> DataError:
    """Return the error of a place that has nothing to train on: what is there, why it is not taken, and what to do."""
    failed = sorted((entry for entry in entries if entry.problem), key=lambda entry: entry.path.suffix in _GRAPH_TABLES)
    there = what_is_there(root) if root.is_dir() else ""
    reasons = [_with_path(entry) for entry in failed][:1]
    if root.is_dir() and (not reasons or "masks" in there):
        reasons = [there or "no images and no tables"]
    return DataError(
        f"nothing to train on in {root}{''.join(f' ({text})' for text in reasons)}",
        required=".npz with images and labels or masks, a table of images and labels, <class>/<image> folders, "
        "NIfTI pairs, or graphs",
        fix="see docs/data.md and docs/graphs.md for the layouts",
    )


def _with_path(entry: FoundSource) -> str:
    return entry.problem if str(entry.path) in entry.problem else f"{entry.path}: {entry.problem}"


def _beside_images(source: _Source) -> _Source:
    if not source.graph:
        return source
    return source._replace(problem="a graph, which needs a configuration of its own: --from-data with this file")


def _as_graph(entry: FoundSource, source: _Source, label: str | None) -> FoundSource:
    """Return a source with the graph that it is, or why it is none."""
    if not source.graph:
        return entry
    try:
        return replace(entry, graph=find_graph(entry.name, source.path, label=label))
    except LorkitError as error:
        return replace(entry, problem=f"{error.given}; {error.fix}" if error.fix else error.given)


def _of_one_form(entries: list[FoundSource]) -> list[FoundSource]:
    """Keep the graphs that one network can read: those of the form that most have."""
    forms = [entry.graph.form for entry in entries if entry.graph is not None]
    if not forms:
        return entries
    form = max(forms, key=forms.count)
    first = next(entry for entry in entries if entry.graph is not None and entry.graph.form == form)
    problem = f"has other relations, features or classes than {first.path.name}: it needs a configuration of its own"
    return [
        replace(entry, graph=None, problem=problem) if entry.graph is not None and entry.graph.form != form else entry
        for entry in entries
    ]


def _with_parts(sources: list[_Source]) -> list[_Source]:
    """Make one source of the tables of images in a folder that are named after parts: `train.csv` and `test.csv`."""
    tables: dict[tuple[object, ...], dict[str, _Source]] = {}
    for source in sources:
        part = part_in_name(source.path)
        if part and source.table.listed and not source.problem:
            key = source.path.parent, source.table.label, source.table.labels
            tables.setdefault(key, {}).setdefault(part, source)
    for found in tables.values():
        if "train" not in found or len(found) < 2:
            continue
        first = found["train"]
        parts = {
            part: tuple(path for path in (found[part].path, found[part].table.root) if path is not None)
            for part in PARTS
            if part in found
        }
        listed = frozenset().union(*(one.table.listed for one in found.values()))
        joined = first._replace(parts=parts, table=replace(first.table, listed=listed))
        sources = [joined if one is first else one for one in sources if one is first or one not in found.values()]
    return sources


def _without_twins(sources: list[_Source]) -> list[_Source]:
    """Mark the folders whose images a manifest lists: as a region of their own they would give every image twice."""
    lists = {folder: source.path for source in sources for folder in source.table.listed}
    return [
        source._replace(problem=f"its images are listed in {lists[source.path.resolve()].name}")
        if source.path.resolve() in lists and not source.problem
        else source
        for source in sources
    ]


class _Walk:
    """A walk through folders, which knows whether it met a table of images.

    Args:
        label: Column of the label of tables, if the user names it.
    """

    def __init__(self, label: str | None) -> None:
        self._label = label
        self.tables = False

    def below(self, directory: Path, depth: int) -> Iterator[_Source]:
        """Yield the sources in a directory and below."""
        children = sorted(child for child in directory.iterdir() if not is_left_over(child))
        folders = folders_of(directory)
        if nifti.accepts([str(directory)]) or case_folders.accepts([str(directory)]):
            yield _Source(directory, masks=True)
            return
        yield from self.files([child for child in children if child.is_file()], folders)
        bare = [folder for folder in folders if is_unlabelled(folder)]
        others = [folder for folder in folders if folder not in bare]
        problem = problem_of(directory)
        if problem or are_classes(others) or are_parts(others):
            beside = next((folder for folder in bare if images_of(folder)), None)
            yield _Source(directory, problem, unlabelled=beside)
            return
        for folder in folders if depth else ():
            yield from self.below(folder, depth - 1)

    def files(self, files: Sequence[Path], folders: list[Path]) -> Iterator[_Source]:
        """Yield the sources among files; `folders` beside them may hold the images of a manifest."""
        for path in files:
            suffix = path.suffix.lower()
            if suffix == ".npz" or suffix == ".mat":
                yield from _arrays(path)
            elif (table := find_table(path, folders, label=self._label)) is not None:
                self.tables = True
                yield _Source(path, table.problem, table)
            elif suffix in _GRAPH_TABLES:
                yield _Source(path, graph=True, sure=False)


def _arrays(path: Path) -> Iterator[_Source]:
    """Yield the source that a file of arrays is, or two if it has labels and masks."""
    if _is_graph(path):
        yield _Source(path, graph=True)
        return
    try:
        keys = set(keys_of(path))
    except DataError as error:
        yield _Source(path, error.given)
        return
    if {"images", "labels", "masks"} <= keys:
        yield _Source(path, task="classification")
        yield _Source(path, task=SEGMENTATION, masks=True)
    elif "train_images" in keys or {"images", "labels"} <= keys or {"images", "masks"} <= keys:
        yield _Source(path, masks="masks" in keys)
    else:
        yield _Source(path, f"has {', '.join(sorted(keys)) or 'nothing'}, not images and labels or masks")


def _is_graph(path: Path) -> bool:
    try:
        return is_graph(str(path))
    except DataError:  # damaged, which its problem says
        return False


def _named(root: Path, sources: list[_Source]) -> list[FoundSource]:
    found: list[FoundSource] = []
    for source in sources:
        path = source.path
        beside = {other.path for other in sources if other is source or not other.problem}
        alone = sum(other.parent == path.parent for other in beside) == 1
        of_folder = path.is_file() and ((alone and path.parent != root) or known_part(path.stem) is not None)
        text = path.parent.resolve().name if of_folder else path.stem
        name = _region_name(f"{text}-masks" if source.task == SEGMENTATION else text)
        taken = {other.name for other in found if not other.problem}
        number = next(
            count for count in range(1, len(sources) + 2) if (f"{name}-{count}" if count > 1 else name) not in taken
        )
        name = f"{name}-{number}" if number > 1 else name
        table = source.table
        kept = {
            "labels": table.labels,
            "label": table.label,
            "task": source.task,
            "masks": source.masks,
            "unlabelled": source.unlabelled,
            "parts": source.parts,
        }
        found.append(FoundSource(name, path, source.problem, table.root, **kept))  # type: ignore[arg-type]
    return found


def _region_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:48] or "region"
    name = name if name[0].isalpha() else f"region-{name}"
    return f"{name}-region" if name in RESERVED else name
