"""Reader of a graph from tables: CSV or Parquet, a row for each node.

The columns in `relations` name entities, and rows with the same entity are related. Further columns may hold the time,
the label, an id and the part (`split`); the other numeric columns are features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lorkit.decompose.artifacts.arrays import Float32Array, Floats, Ints
from lorkit.decompose.config import GraphSource
from lorkit.decompose.config.graphs import TimeForm
from lorkit.decompose.data.graphs.graph import UNLABELLED, Graph, build_keys
from lorkit.decompose.data.graphs.labels import encode_labels
from lorkit.decompose.data.graphs.npz import numbered
from lorkit.decompose.data.graphs.table_files import columns_of, keys_of, load_polars, open_table, texts_of
from lorkit.decompose.data.graphs.times import times_of
from lorkit.decompose.data.samples.samples import part_name
from lorkit.decompose.errors import DataError, UsageError, plural, unknown

if TYPE_CHECKING:
    from polars import DataFrame, Series

LABEL_NAMES = ("label", "labels", "class", "is_fraud", "fraud")
SPLIT = "split"


@dataclass(frozen=True, kw_only=True)
class Roles:
    """What the columns of a table hold."""

    relations: tuple[str, ...]
    time: str | None
    label: str | None
    id: str | None
    split: str | None

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns that are read as text: a key 007 is not 7."""
        others = (self.time, self.label, self.id, self.split)
        return (*self.relations, *(name for name in others if name is not None))


def read(paths: Sequence[Path], source: GraphSource, *, parts: Sequence[str | None] = ()) -> Graph:
    """Read tables of the same columns, whose rows follow each other.

    Rows keep the order of the file; their times say which comes first.

    Args:
        paths: Files.
        source: The columns.
        parts: The part of all rows of each table; empty leaves what a column `split` says.

    Raises:
        UsageError: No relations are stated, a stated column is missing, or several may be the label.
        DataError: A file is damaged, or its rows hold no valid graph.
        MissingRuntimeError: polars is not installed.
    """
    origin = ", ".join(map(str, paths))
    columns = _shared_columns(paths)
    roles = find_roles(columns, source, origin)
    frames = [open_table(path, roles.texts).select(columns) for path in paths]
    frame = load_polars().concat(frames, how="vertical_relaxed")
    lengths = [len(one) for one in frames]
    labels_N, classes, about = _labels(frame, roles, source, origin)
    features_NF, names, left_out = _features(frame, roles, source, origin)
    times_N, form, said = (None, None, ()) if roles.time is None else _times(frame[roles.time], origin)
    relations, notices = {}, [*about, *left_out, *said]
    for name in roles.relations:
        where = f"{origin}, relation '{name}'"
        cells, forms = keys_of(frame[name], where=where)
        relations[name], said = build_keys(cells, where=where)
        notices += [*forms, *said]
    return Graph(
        features_NF=features_NF,
        feature_names=names,
        labels_N=labels_N,
        classes=classes,
        relations=relations,
        ids=_ids(frame, roles, paths, lengths),
        parts=_parts(frame, roles, lengths, parts, origin),
        origin=origin,
        times_N=times_N,
        time_form=form,
        synthetic=source.simulated,
        notices=tuple(notices),
    )


def find_roles(columns: Sequence[str], source: GraphSource, where: str) -> Roles:
    """Return which column holds what; the label's is found by its usual names where none is stated.

    Raises:
        UsageError: No relations are stated, a stated column is missing, or several may be the label.
    """
    if source.relations is None:
        raise UsageError(
            f"{where} is a table, and the region states no relations",
            required="the columns that name entities, such as a card or a shop",
            fix=f"state `relations` with some of {', '.join(columns)}",
        )
    stated = [name for name in (source.time, source.label, source.id) if name is not None]
    for name in (*source.relations, *stated, *(source.features or ())):
        if name not in columns:
            raise unknown(f"column of {where}", name, columns, fix="name one of them in the region")
    taken = {*source.relations, *stated, *(source.features or ())}
    usual = [name for name in columns if name.lower() in LABEL_NAMES and name not in taken]
    if source.label is None and len(usual) > 1:
        raise UsageError(f"{where} has {' and '.join(usual)}", required="one column of labels", fix="state `label`")
    split = next((name for name in columns if name.lower() == SPLIT and name not in taken), None)
    label = source.label or next(iter(usual), None)
    return Roles(relations=source.relations, time=source.time, label=label, id=source.id, split=split)


def _times(series: Series, origin: str) -> tuple[Floats, TimeForm, tuple[str, ...]]:
    """Return the times, their form, and what to say of them, such as that they are not in the order of the rows."""
    polars = load_polars()
    form: TimeForm = "dates"
    notices: tuple[str, ...] = ()
    if series.dtype in (polars.Date, polars.Datetime):
        times_N: Floats = series.dt.epoch("us").cast(polars.Float64).to_numpy() / 1e6
    else:
        times_N, form, notices = times_of(texts_of(series), where=origin)
    back = np.flatnonzero(np.diff(times_N) < 0)
    if len(back):
        notices = (
            *notices,
            f"{origin}: time runs backwards at {plural(len(back), 'row')}, first at row {back[0] + 2}; rows are taken"
            " in the order of time, and of the file where it is equal",
        )
    return times_N, form, notices


def _labels(
    frame: DataFrame, roles: Roles, source: GraphSource, origin: str
) -> tuple[Ints, tuple[str, ...], tuple[str, ...]]:
    if roles.label is not None:
        cells = np.array([cell or "" for cell in texts_of(frame[roles.label])], dtype=str)
        return encode_labels(cells, source.classes, where=origin)
    if source.classes is None:
        raise UsageError(
            f"{origin} has no column of labels among {', '.join(frame.columns)}",
            required=f"one that is named {', '.join(LABEL_NAMES)}, or stated",
            fix="state `label`, or `classes` to read rows without labels",
        )
    return np.full(len(frame), UNLABELLED), source.classes, (f"{origin}: no column of labels",)


def _features(
    frame: DataFrame, roles: Roles, source: GraphSource, origin: str
) -> tuple[Float32Array, tuple[str, ...], tuple[str, ...]]:
    """Return (N, F) features, their names, and notices: columns that are no numbers, and further labels."""
    polars = load_polars()
    others = [name for name in frame.columns if name not in roles.texts]
    numeric = [name for name in others if frame[name].dtype.is_numeric() or frame[name].dtype == polars.Boolean]
    names = source.features or tuple(numeric)
    left_out = [name for name in others if name not in numeric] if source.features is None else []
    columns = []
    for name in names:
        try:
            column = frame[name].cast(polars.Float64)
        except polars.exceptions.PolarsError:
            raise UsageError(
                f"{origin}: the feature '{name}' holds text", required="numeric columns", fix="correct `features`"
            ) from None
        columns.append(column.fill_null(float("nan")).to_numpy())
    with np.errstate(over="ignore"):  # the graph refuses infinite features by name
        features_NF = np.array(columns, dtype=np.float64).reshape(len(names), len(frame)).T.astype(np.float32)
    notices = []
    if left_out:
        notices.append(f"{origin}: {plural(len(left_out), 'column')} without numbers left out: {', '.join(left_out)}")
    if source.features is None:
        notices += [
            f"{origin}: the column '{name}' is a feature, though it is named like a label; state `features` without it"
            " if it says the answer"
            for name in names
            if name.lower() in LABEL_NAMES
        ]
    return np.ascontiguousarray(features_NF), tuple(names), tuple(notices)


def _ids(frame: DataFrame, roles: Roles, paths: Sequence[Path], lengths: Sequence[int]) -> tuple[str, ...]:
    if roles.id is None:
        if len(paths) == 1:
            return numbered(len(frame))
        names = [path.stem for path in paths]
        if len(set(names)) < len(names):  # of several folders
            names = [f"{number}/{name}" for number, name in enumerate(names, start=1)]
        return tuple(f"{name}/{row}" for name, rows in zip(names, lengths, strict=True) for row in range(rows))
    first: dict[str, int] = {}
    for row, cell in enumerate(texts_of(frame[roles.id]), start=1):
        if cell is None or first.setdefault(cell, row) != row:
            raise DataError(
                f"column '{roles.id}', row {row}: " + (f"'{cell}' as in row {first[cell]}" if cell else "no id"),
                required="an id for each row, each once",
                fix="correct the column, or leave `id` out",
            )
    return tuple(first)


def _parts(
    frame: DataFrame, roles: Roles, lengths: Sequence[int], stated: Sequence[str | None], origin: str
) -> tuple[str | None, ...]:
    if any(stated):
        return tuple(part for part, rows in zip(stated, lengths, strict=True) for _ in range(rows))
    if roles.split is None:
        return (None,) * len(frame)
    return tuple(part_name(cell or "", origin) for cell in texts_of(frame[roles.split]))


def _shared_columns(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the columns of all tables; raise DataError if they differ."""
    found = [columns_of(path) for path in paths]
    for path, columns in zip(paths, found, strict=True):
        other = sorted(set(columns) ^ set(found[0]))
        if other:
            raise DataError(
                f"{path} and {paths[0]} differ in the columns {', '.join(other)}",
                required="the same columns in every table of a region",
                fix="correct one of them",
            )
    return found[0]
