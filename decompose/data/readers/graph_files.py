"""Regions whose data are graphs: recognised by their settings or content, and read into samples of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lorkit.decompose.config import RegionConfig, resolve_path
from lorkit.decompose.config.loading import PHANTOM
from lorkit.decompose.data.formats.npz import keys_of
from lorkit.decompose.data.phantoms import PAYMENTS
from lorkit.decompose.data.samples.samples import PARTS
from lorkit.decompose.regions import NODE

if TYPE_CHECKING:
    from lorkit.decompose.data.node_samples import NodeSamples

_PHANTOM = f"{PHANTOM}{PAYMENTS}"
_FEATURES, _EDGES = ("features", "node_features"), "edge"


def accepts(config: RegionConfig, base: Path) -> bool:
    """Return whether the data of a region are a graph: as stated, or by the content of their file."""
    if config.task is not None:
        return config.task == NODE
    paths = [resolve_path(text, base) for text in config.data or config.train or ()]
    if config.relations is not None:
        return not any(_holds_images(path) for path in paths)
    return any(is_graph(path) for path in paths)


def is_graph(path: str) -> bool:
    """Return whether a file is a graph by its content: a `.mat`, an `.npz` with features and edges, or the phantom."""
    if path == _PHANTOM:
        return True
    if Path(path).suffix.lower() == ".mat":
        return True
    if Path(path).suffix.lower() != ".npz":
        return False
    keys = keys_of(Path(path))
    return any(name in keys for name in _FEATURES) and any(name.startswith(_EDGES) for name in keys)


def _holds_images(path: str) -> bool:
    """Return whether data are images for certain, so that relations of them are a mistake."""
    if path.startswith(PHANTOM):
        return path != _PHANTOM
    if Path(path).suffix.lower() != ".npz" or not Path(path).is_file():
        return Path(path).is_dir()
    return any(key in {"images", "train_images"} for key in keys_of(Path(path)))


def read(name: str, config: RegionConfig, base: Path, *, complete: bool = True) -> NodeSamples:
    """Read the graph of a region and return its labelled nodes.

    Args:
        name: Region name.
        config: Its settings.
        base: Directory for relative paths.
        complete: Require a node of every class; False for a file that is only evaluated.

    Raises:
        UsageError: As for `read_graph` and `node_samples`.
        DataError: As for these.
    """
    from lorkit.decompose.data.graphs.reading import read_graph  # with SciPy, which images do not need
    from lorkit.decompose.data.node_samples import node_samples
    from lorkit.decompose.data.phantoms.payments import payments

    files, parts = _files(config)
    paths = [resolve_path(text, base) for text in files]
    graph = payments() if paths == [_PHANTOM] else read_graph(paths, config, parts=parts)
    return node_samples(name, config, graph, complete=complete)


def _files(config: RegionConfig) -> tuple[Sequence[str], Sequence[str | None]]:
    if config.data is not None:
        return config.data, ()
    stated = [(text, part) for part in PARTS for text in getattr(config, part) or ()]
    return [text for text, _ in stated], [part for _, part in stated]
