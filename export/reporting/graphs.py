"""The leakage of a run's graphs: what every possible split, and the run's own, lets a test node learn from training."""

from __future__ import annotations

from lorkit.decompose.data.samples.samples import PARTS
from lorkit.decompose.documents.graphs import GraphFacts, GraphsDocument
from lorkit.decompose.errors import DataError, fit_for_artifact
from lorkit.decompose.events import Listener, Working
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.locked_data import RunSplits

_FILE = "graphs.json"


def graphs_of(run_splits: RunSplits, warnings: list[str], on_event: Listener) -> dict[str, GraphFacts]:
    """Return the facts of each region that is a graph; measure and store them if the run has none.

    Args:
        run_splits: The run and its data.
        warnings: Extended by a line for each graph whose data cannot be read.
        on_event: Receives progress.
    """
    run = run_splits.run
    if not run.config.image.nodes:
        return {}
    stored = _stored(run)
    if stored is not None:
        return stored
    found: dict[str, GraphFacts] = {}
    names = run.regions.names
    for index, name in enumerate(names):
        on_event(Working(f"splits of {name}", index, len(names)))
        try:
            found[name] = _measure(run_splits, name)
        except DataError as error:
            warnings.append(
                f"Not measured: what the split of {name} lets its test nodes learn: {fit_for_artifact(error)}."
            )
    if len(found) == len(names):
        run.measurements_dir.mkdir(exist_ok=True)
        GraphsDocument(run_digest=run.manifest.digest, graphs=found).write(run.measurements_dir / _FILE, sealed=True)
    return found


def _stored(run: Run) -> dict[str, GraphFacts] | None:
    path = run.measurements_dir / _FILE
    document = GraphsDocument.read(path, fix="remove it") if path.is_file() else None
    return document.graphs if document is not None and document.run_digest == run.manifest.digest else None


def _measure(run_splits: RunSplits, name: str) -> GraphFacts:
    from lorkit.decompose.data.graph_inspection import inspect_graph, leakage_rows  # with SciPy, for graphs alone
    from lorkit.decompose.data.node_samples import NodeSamples

    samples, places = run_splits.samples(name), run_splits.parts(name)
    assert isinstance(samples, NodeSamples)
    parts: list[str | None] = [None] * len(samples.graph)
    for part, indices in places.items():
        for row in samples.rows[indices].tolist():
            parts[row] = part
    config = run_splits.run.config
    found = inspect_graph(samples, config.split, config.graph)
    splits = dict(found.splits)
    for kind, one in splits.items():
        if one.chosen:  # the locked parts are those of the run, whatever a new split would give
            counts = {part: len(places[part]) for part in PARTS}
            leakage = leakage_rows(samples.graph, parts, found.hops, config.graph.label_delay)
            splits[kind] = one.with_changes(parts=counts, leakage=leakage, refused_because=None)
        elif one.refused_because is not None:
            splits[kind] = one.with_changes(refused_because=fit_for_artifact(one.refused_because))
    return found.with_changes(splits=splits)
