"""Graphs among files: what their regions state, and the split that all of them allow, to draft a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lorkit.decompose.config import RegionConfig, SplitConfig
from lorkit.decompose.data.graphs.column_roles import ColumnRole, recognise
from lorkit.decompose.data.graphs.graph import Graph, Keys
from lorkit.decompose.data.graphs.reading import kind_of, read_graph
from lorkit.decompose.data.graphs.splits import possible_splits, split_graph
from lorkit.decompose.data.graphs.table_files import open_table
from lorkit.decompose.data.node_samples import node_samples
from lorkit.decompose.errors import DataError, LorkitError


@dataclass(frozen=True, kw_only=True)
class FoundGraph:
    """One graph.

    Attributes:
        settings: Keys of its region, without the data.
        columns: What the columns of a table were taken for; empty for files with edges.
        notes: What could also be meant, with the setting that says so.
        graph: The graph, as these settings read it.
    """

    settings: dict[str, object]
    columns: tuple[ColumnRole, ...]
    notes: tuple[str, ...]
    graph: Graph

    @property
    def form(self) -> tuple[object, ...]:
        """What regions that share a network have in common."""
        return tuple(self.graph.relations), self.graph.feature_names, len(self.graph.classes)


def find_graph(name: str, path: Path, *, label: str | None = None) -> FoundGraph:
    """Read one file as a graph whose settings are recognised.

    Args:
        name: Region name.
        path: A table, or an `.npz` or `.mat` with edges.
        label: Column of a table's label, if the user names it.

    Raises:
        UsageError: The named label is no column, or has no classes.
        DataError: The file is damaged, or no graph that could be split and trained on.
        MissingRuntimeError: It is a table, and the extra `graph` is not installed.
    """
    settings: dict[str, object] = {}
    columns: tuple[ColumnRole, ...] = ()
    notes: tuple[str, ...] = ()
    if kind_of(path) == "table":
        found = recognise(open_table(path, ()), label=label)
        settings, columns, notes = found.settings(), found.columns, found.notes
    elif label is not None:
        raise DataError(
            f"--label {label} with {path}", required="a table", fix="leave --label out: the file names its labels"
        )
    config = RegionConfig.model_validate({"data": str(path), **settings})
    graph = read_graph([path], config)
    node_samples(name, config, graph)
    common_split([graph])
    if not columns:
        settings = {"relations": list(graph.relations)}
    return FoundGraph(settings=settings, columns=columns, notes=notes, graph=graph)


def common_split(graphs: Sequence[Graph]) -> tuple[SplitConfig, tuple[str, ...]]:
    """Return the first split that all graphs allow, and one line for each better one that they do not.

    The parts that files state come first, then later rows, new entities (of the relation with most keys), the official
    random split, and new neighbourhoods.

    Raises:
        DataError: They allow none.
    """
    refused: list[str] = []
    for split in _splits(graphs[0]):
        try:
            for graph in graphs:
                _check(graph, split)
        except LorkitError as error:
            why = error.given.removeprefix(f"{graph.origin}, split {split.by}: ").removeprefix(f"{graph.origin}: ")
            refused.append(f"split {split.by}{_of(split)} is not possible: {why}")
        else:
            return split, tuple(refused)
    raise DataError(
        f"no split gives every part its classes ({'; '.join(refused)})",
        required="enough nodes of every class for training, validation and test",
        fix="add labels",
    )


def _splits(graph: Graph) -> list[SplitConfig]:
    possible = possible_splits(graph)
    keys = {name: len(relation.names) for name, relation in graph.relations.items() if isinstance(relation, Keys)}
    entities = sorted(keys, key=lambda name: -keys[name])
    return [
        *([SplitConfig()] if "stated" in possible else []),
        *([SplitConfig(by="temporal")] if "temporal" in possible else []),
        *(SplitConfig(by="entity", entities=(name,)) for name in entities),
        SplitConfig(by="random"),
        *([SplitConfig(by="neighbour")] if "neighbour" in possible else []),
    ]


def _check(graph: Graph, split: SplitConfig) -> None:
    """Raise an error if a graph does not allow a split."""
    kind = ("stated" if any(graph.parts) else "random") if split.by == "group" else split.by
    split_graph(graph, kind, entities=split.entities, hops=2)


def _of(split: SplitConfig) -> str:
    return f" of {', '.join(split.entities)}" if split.entities else ""
