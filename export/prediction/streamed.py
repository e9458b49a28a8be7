"""Score a stream of rows with a network of a run: the network, its store, and lines in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lorkit.decompose.data.node_samples import NodeSamples
from lorkit.decompose.errors import ArtifactError, UsageError
from lorkit.decompose.events import Listener, ignore
from lorkit.decompose.runs import ExportSelection
from lorkit.decompose.runs.lineage import RunFinder
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.prediction.network import LoadedNetwork, open_network
from lorkit.export.serving.counters import Layout
from lorkit.export.serving.filling import fill as fill_store
from lorkit.export.serving.scoring import Scorer, streamed_input
from lorkit.export.serving.stores import open_store
from lorkit.export.serving.stream import BATCH, answer_lines


def stream(
    path: Path | str | None,
    lines: Iterable[bytes | None],
    store: Path | str,
    *,
    run: Path | str | None = None,
    region: str | None = None,
    target: str | None = None,
    profile: str | None = None,
    precision: str | None = None,
    fill: bool = False,
    allow_synthetic: bool = False,
    batch: int = BATCH,
    threads: int | None = 1,
    on_event: Listener = ignore,
) -> Iterator[str]:
    """Score rows and record labels as they arrive; yield one line of JSON for each line.

    Args:
        path: An export or an expert directory; without one, `region` of a run, as for `predict`.
        lines: UTF-8, a JSON object each: a row with `id`, the columns of the network and perhaps `time`, or the label
            of an earlier row with `id` and `label`. None asks for the answers to all lines before it.
        store: A SQLite file with the counters and rows, or a database of a Redis server as a URL; a new one is made.
        run: A run by id or path; the newest by default.
        region: Region of the run.
        target: Selects among the exports of the run.
        profile: Selects among the exports of the run.
        precision: Selects among the exports of the run.
        fill: Count the rows of the run's data first, with the labels of its training part; the store must be empty.
        allow_synthetic: Allow a network that was trained on phantoms only.
        batch: Most lines that wait for an answer; 1 answers each line before the next one is read.
        threads: CPU threads.
        on_event: Receives progress of filling, and notices.

    Raises:
        UsageError: No network, one that cannot be streamed, `fill` of a store that has rows, or a wrong URL.
        MissingRuntimeError: The runtime of the network, or the client of a Redis server, is missing.
        ArtifactError: The network or store is damaged, was made for another network, or is synthetic and not allowed.
        BusyError: Another process held the store for too long.
        StorageError: The store cannot be reached or written, or would forget what it holds.
    """
    selection = ExportSelection(region=region, target=target, profile=profile, precision=precision)
    network = open_network(path, run, selection, threads)
    if network.info.synthetic and not allow_synthetic:
        raise ArtifactError(
            f"{network.path} was trained on synthetic rows only",
            required="an expert trained on real ones",
            fix="allow it for a test with --allow-synthetic, in Python with allow_synthetic=True",
        )
    nodes = streamed_input(network.recipe, str(network.path))
    assert network.info.kind != "mixture"  # of images
    opened = open_store(store, Layout.of(nodes, network.classes))
    try:
        if fill:
            samples = _samples(network)
            fill_store(opened, nodes, samples.graph, samples.visible(), on_event=on_event)
        scorer = Scorer(nodes, network.classes, network.info.decision, network.run, opened, on_event)
        yield from answer_lines(scorer, lines, batch=batch)
    finally:
        opened.close()


def _samples(network: LoadedNetwork) -> NodeSamples:
    """Return the rows that a network was trained on, with the labels of the training part."""
    run = RunFinder().around(network.path)
    if run is None:
        raise UsageError(
            f"--fill with {network.path}, which is in no run",
            required="a network in its run, whose data fill the store",
            fix="name it with --run and --region",
        )
    samples = RunSplits(run, network.region.name).samples(network.region.name)
    assert isinstance(samples, NodeSamples)  # of a network of nodes
    return samples
