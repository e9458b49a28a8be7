"""Read a graph from any supported file, chosen by the content of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lorkit.decompose.config import GraphSource
from lorkit.decompose.data.graphs import mat, npz, table
from lorkit.decompose.data.graphs.graph import Graph
from lorkit.decompose.errors import UsageError, reads

_ZIP, _MAT = b"PK\x03\x04", b"MATLAB"


def read_graph(paths: Sequence[Path | str], source: GraphSource, *, parts: Sequence[str | None] = ()) -> Graph:
    """Read a graph from one `.npz` or `.mat`, or from the rows of one or more tables.

    Args:
        paths: Files; of several tables the rows follow each other.
        source: How to read them; `RegionConfig` is one.
        parts: The part of the rows of each table, in place of what it states itself; empty leaves that.

    Raises:
        UsageError: No or several graphs, a setting that the file does not allow, or a column that is not there.
        DataError: A file that is missing or damaged, or holds no valid graph.
        MissingRuntimeError: A table is given, and the extra `graph` is not installed.
    """
    files = [Path(path) for path in paths]
    kinds = {kind_of(path) for path in files}
    if kinds == {"table"}:
        return table.read(files, source, parts=parts)
    if len(files) != 1 or any(parts):
        raise UsageError(
            f"{', '.join(map(str, files)) or 'no file'} as one graph{' in stated parts' if any(parts) else ''}",
            required="one .npz or .mat, or one or more tables",
            fix="state one file as `data`",
        )
    return npz.read(files[0], source) if kinds == {"npz"} else mat.read(files[0], source)


@reads("an .npz, .mat, CSV or Parquet file", fix="check the path")
def kind_of(path: Path) -> str:
    """Return "npz", "mat" or "table" by the first bytes of a file; raise DataError if it cannot be read."""
    with path.open("rb") as stream:
        head = stream.read(len(_MAT))
    if head.startswith(_ZIP):
        return "npz"
    if head.startswith(_MAT) or path.suffix.lower() == ".mat":  # files of MATLAB 4 begin with numbers
        return "mat"
    if path.suffix.lower() == ".npz":  # too short or damaged: its reader says so
        return "npz"
    return "table"
