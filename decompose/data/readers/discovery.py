"""Find data in a file or below a directory that the readers take, one region per source, to draft a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lorkit.decompose.data.formats.listing import images_of, is_left_over
from lorkit.decompose.data.formats.npz import keys_of
from lorkit.decompose.data.formats.registry import is_image
from lorkit.decompose.data.readers import nifti
from lorkit.decompose.data.readers.class_folder import part_folders
from lorkit.decompose.data.readers.csv_table import Table, in_header, local_path, read_table
from lorkit.decompose.data.readers.graph_discovery import FoundGraph, find_graph
from lorkit.decompose.data.readers.graph_files import is_graph
from lorkit.decompose.errors import DataError, LorkitError, UsageError
from lorkit.decompose.regions import RESERVED

UNLABELLED = "unlabelled"
"""Name of a folder of images without labels beside folders of classes."""
_DEPTH = 4
_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_MASKS = "has masks: segmentation needs its own configuration (see docs/data.md)"


@dataclass(frozen=True)
class FoundSource:
    """One data source; `problem` is the reason why it cannot become a region, else empty.

    `root` is the directory that the paths of a manifest start at, where it is not the manifest's own. `labels` are its
    columns of 1, 0, -1 or nothing: those of a multilabel region. `graph` is set if it is a graph. `unlabelled` is a
    folder of that name beside folders of classes.
    """

    name: str
    path: Path
    problem: str = ""
    root: Path | None = None
    labels: tuple[str, ...] = ()
    graph: FoundGraph | None = None
    unlabelled: Path | None = None


class _Source(NamedTuple):
    path: Path
    problem: str = ""
    root: Path | None = None
    listed: frozenset[Path] = frozenset()  # folders of the images that a manifest lists
    labels: tuple[str, ...] = ()
    graph: bool = False  # may be one
    sure: bool = True  # a table may also be notes beside images
    unlabelled: Path | None = None


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
        raise DataError(f"no file or directory at {root}", required="data", fix="check the path")
    base = root if root.is_dir() else root.parent
    beside = [] if root.is_dir() else sorted(child for child in base.iterdir() if child.is_dir())
    sources = _without_twins(list(_walk(root, _DEPTH) if root.is_dir() else _sources([root], beside)))
    if any(not source.problem and not source.graph for source in sources):
        if label is not None:
            raise UsageError(
                f"--label {label} with {root}", required="tables of a graph", fix="leave --label out for images"
            )
        return _named(base, [_beside_images(source) for source in sources if source.sure])
    entries = [_as_graph(entry, source, label) for entry, source in zip(_named(base, sources), sources, strict=True)]
    entries = _of_one_form(entries)
    if all(entry.problem for entry in entries):
        if root.is_file() and len(sources) == 1 and sources[0].graph:
            find_graph(entries[0].name, root, label=label)  # raises what the problem was
        reason = "".join(f" ({entry.path}: {entry.problem})" for entry in entries[:1])
        raise DataError(
            f"nothing to train on in {root}{reason}",
            required=".npz with images and labels, CSV with path and label, <class>/<image> folders, or graphs",
            fix="see docs/data.md and docs/graphs.md for the layouts",
        )
    return entries


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


def _without_twins(sources: list[_Source]) -> list[_Source]:
    """Mark the folders whose images a manifest lists: as a region of their own they would give every image twice."""
    lists = {folder: source.path for source in sources for folder in source.listed}
    return [
        source._replace(problem=f"its images are listed in {lists[source.path].name}")
        if source.path in lists and not source.problem
        else source
        for source in sources
    ]


def _walk(directory: Path, depth: int) -> Iterator[_Source]:
    children = sorted(child for child in directory.iterdir() if not is_left_over(child))
    folders = [child for child in children if child.is_dir()]
    if nifti.accepts([str(directory)]):
        yield _Source(directory, _MASKS)
        return
    yield from _sources(children, folders)
    bare = [folder for folder in folders if folder.name.lower() == UNLABELLED]
    others = [folder for folder in folders if folder not in bare]
    if sum(_holds_images(folder) for folder in others) >= 2 or _holds_parts(others):
        yield _Source(directory, unlabelled=bare[0] if bare and images_of(bare[0]) else None)
        return
    for folder in folders if depth else ():
        yield from _walk(folder, depth - 1)


def _sources(files: Sequence[Path], folders: list[Path]) -> Iterator[_Source]:
    """Yield the sources among files; `folders` beside them may hold the images of a manifest."""
    for path in files:
        suffix = path.suffix.lower()
        if suffix == ".npz" or suffix == ".mat":
            yield _Source(path, graph=True) if _is_graph(path) else _Source(path, _npz_problem(path))
        elif suffix == ".csv" and (table := _manifest(path)) is not None:
            yield _listed(path, table, folders)
        elif suffix in _TABLES:
            yield _Source(path, graph=True, sure=False)


def _is_graph(path: Path) -> bool:
    try:
        return is_graph(str(path))
    except DataError:  # damaged, which its problem says
        return False


def _holds_images(folder: Path) -> bool:
    return any(child.is_file() and not child.name.startswith(".") and is_image(child) for child in folder.iterdir())


def _holds_parts(folders: list[Path]) -> bool:
    """Return whether folders are parts, such as train and test, each with class folders."""
    parts, _ = part_folders(folders)
    return len(parts) > 1 and all(
        sum(_holds_images(child) for child in folder.iterdir() if child.is_dir()) >= 2 for folder in parts
    )


def _manifest(path: Path) -> Table | None:
    if not in_header(path, "path"):  # a large table of a graph is not read for nothing
        return None
    try:
        table = read_table(path)
    except DataError:
        return None
    return table if "path" in table.columns and ("label" in table.columns or _label_columns(table)) else None


def _label_columns(table: Table) -> tuple[str, ...]:
    """Return the columns with both answers, 1 and 0, of a table without a column `label`."""
    if "label" in table.columns:
        return ()
    numbers = {name: {row[name].lower().removesuffix(".0") for _, row in table.rows} for name in table.columns}
    return tuple(name for name, found in numbers.items() if {"0", "1"} <= found <= {"0", "1", "-1", "", "nan"})


def _listed(manifest: Path, table: Table, folders: list[Path]) -> _Source:
    """Return a manifest with the directory that its paths start at: its own, one beside it, or the one above."""
    paths = [local_path(row["path"]) for _, row in table.rows]
    own = manifest.parent
    for root in (own, *sorted(folders, key=lambda folder: folder.name != manifest.stem), own.parent):
        files = [root / path for path in paths]
        if files and not any(".." in path.parts for path in paths) and all(file.is_file() for file in files):
            listed = frozenset(parent for file in files for parent in file.parents if parent.is_relative_to(root))
            return _Source(manifest, "", None if root == own else root, listed, _label_columns(table))
    missing = next((path for path in paths if not (own / path).is_file() or ".." in path.parts), "")
    return _Source(manifest, f"lists '{missing}', which is not below it" if paths else "lists no image")


def _npz_problem(path: Path) -> str:
    try:
        keys = set(keys_of(path))
    except DataError as error:
        return error.given
    if "train_images" in keys or {"images", "labels"} <= keys:
        return ""
    if "masks" in keys:
        return _MASKS
    return f"has {', '.join(sorted(keys)) or 'nothing'}, not images and labels"


def _named(root: Path, sources: list[_Source]) -> list[FoundSource]:
    found: list[FoundSource] = []
    for source in sources:
        path = source.path
        alone = sum(other.path.parent == path.parent for other in sources if other is source or not other.problem) == 1
        text = path.parent.name if path.is_file() and alone and path.parent != root else path.stem
        name = _region_name(text)
        taken = {other.name for other in found if not other.problem}
        number = next(
            count for count in range(1, len(sources) + 2) if (f"{name}-{count}" if count > 1 else name) not in taken
        )
        name = f"{name}-{number}" if number > 1 else name
        found.append(FoundSource(name, path, source.problem, source.root, source.labels, unlabelled=source.unlabelled))
    return found


def _region_name(text: str) -> str:
    name = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:48] or "region"
    name = name if name[0].isalpha() else f"region-{name}"
    return f"{name}-region" if name in RESERVED else name
