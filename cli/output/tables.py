"""Tables on stdout, or on stderr beside a JSON document; undefined numbers are a dash."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from lorkit.cli.output.streams import print_sheet, print_status, sheet_stream
from lorkit.decompose.errors import plural
from lorkit.decompose.regions import Case, words_of

if TYPE_CHECKING:  # they import torch and image readers
    from rich.console import Console

    from lorkit.decompose.documents.data import DataDocument
    from lorkit.decompose.documents.graphs import GraphFacts
    from lorkit.decompose.documents.training import ExpertLayer, Plan, Rehearsal


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, result: bool = True) -> None:
    """Print a table; columns of words are left-aligned, columns with numbers right-aligned.

    Args:
        title: Its first line.
        columns: Their names.
        rows: Their cells.
        result: Whether it is the result of the command; otherwise it goes to stderr.
    """
    from rich.table import Table  # a prediction prints no table
    from rich.text import Text

    sheet = Table(box=None, pad_edge=False)
    cells = [list(row) for row in rows]
    for index, name in enumerate(columns):
        words = all(isinstance(row[index], str) for row in cells)
        sheet.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in cells:
        sheet.add_row(
            *(Text(_flat(cell) if isinstance(cell, str) else number(cell)) for cell in row)
        )  # Text: no markup
    stream = sheet_stream() if result else sys.stderr
    console = _console(stream)
    with console.capture() as captured:
        console.print(Text(title, style="table.title"), soft_wrap=True)  # a title of a table wraps to its width
        console.print(sheet)
    lines = captured.get().splitlines()
    print_sheet("".join(f"{one if console.is_terminal else one.rstrip()}\n" for one in lines), stream)


def fits(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bool:
    """Return whether a result of these columns fits the terminal; off a terminal it always does."""
    stream = sheet_stream()
    cells = [columns, *([cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows)]
    width = sum(max(map(len, column)) for column in zip(*cells, strict=True)) + len(columns) - 1
    return not stream.isatty() or width <= _console(stream).width


def _console(stream: TextIO) -> Console:
    """Return a console for tables; off a terminal it is wide enough that no cell is cut."""
    from rich.console import Console

    if stream.isatty():
        return Console(file=stream, highlight=False, emoji=False)
    return Console(file=stream, highlight=False, emoji=False, force_terminal=False, width=160)


def line(text: str) -> None:
    """Print a line that explains a table, without wrapping: logs are searched line by line."""
    print_sheet(f"{_flat(text)}\n", sheet_stream())


def notice(text: str) -> None:
    """Print a line on stderr, without wrapping."""
    print_status(_flat(text))


def _flat(text: str) -> str:
    """Keep text from data on one line: at the start of a line, `::` is a command of the CI system."""
    return " ".join(text.splitlines())


def number(value: Any, digits: int = 3) -> str:
    """Return a number for a table; null is a dash, integers have thousands separators."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def interval(value: Any, bounds: Sequence[Any] | None) -> str:
    """Return a value with its 95% interval."""
    if value is None:
        return "-"
    return number(value) if not bounds else f"{number(value)} [{number(bounds[0])}, {number(bounds[1])}]"


def warnings(texts: Iterable[str], *, synthetic: bool = False, case: Case = "image") -> None:
    """Print the warnings of a document, one line each, and whether a program made its images or nodes."""
    for text in dict.fromkeys(texts):
        notice(f"warning: {text}")
    if synthetic:
        words = words_of(case)
        notice(f"SYNTHETIC: made from {words.made} {words.cases}; not for use on {words.not_for}")


def inspection(document: DataDocument) -> None:
    """Print an inspection: one row per region, its classes by part, and every leak."""
    rows = []
    for name, row in document.regions.items():
        size = "x".join(map(str, row.smallest))
        if row.largest != row.smallest:
            size += " to " + "x".join(map(str, row.largest))
        parts = row.parts or {}
        counts = "/".join(str(parts[part].n) for part in ("train", "val", "test")) if parts else "-"
        unknown = row.uncertain or {}
        classes = ", ".join(
            f"{label} {count}" + (f" ({unknown[label]} uncertain)" if unknown.get(label) else "")
            for label, count in row.cases_by_class.items()
        )
        rows.append([name, row.n, row.groups, size, counts, classes])
    graphs = {name: row.graph for name, row in document.regions.items() if row.graph is not None}
    cases = "nodes" if graphs else "images"
    table("data", ("region", cases, "groups", "features" if graphs else "size", "train/val/test", "classes"), rows)
    for name, row in document.regions.items():
        if row.spacing_range_mm is not None:
            low, high = (" x ".join(f"{side:.3g}" for side in one) for one in row.spacing_range_mm)
            axes = " (right, anterior, superior, where orientation is stated)" if len(row.smallest) == 3 else ""
            line(f"{name}: spacing {low if low == high else f'{low} to {high}'} mm{axes}")
        if (others := row.unlabelled) is not None:
            line(f"{name}: {others.n} unlabelled images of {others.groups} groups")
    for name, graph in graphs.items():
        _graph(name, graph)
    for row in document.regions.values():
        for leak in row.leaks:
            line(f"leak: {leak}")
    speed = document.loader.images_per_second
    if speed is not None:
        line(f"loader: {speed:,.0f} images/s")
    warnings(document.warnings, synthetic=document.synthetic, case="node" if graphs else "image")


def _graph(name: str, graph: GraphFacts) -> None:
    """Print the relations of a graph, and every split that it allows with its leakage."""
    relations = [
        [relation, row.kind, row.edge_count if row.key_count is None else row.key_count, f"{row.alone:.1%}"]
        for relation, row in graph.relation_facts.items()
    ]
    title = f"{name}: {graph.nodes:,} nodes, {graph.labelled:,} with a label"
    table(title, ("relation", "by", "edges or keys", "nodes alone"), relations)
    rows = []
    columns = [
        relation if hop == 1 else f"{relation}, {hop} hops"
        for relation, row in graph.relation_facts.items()
        for hop in range(1, (graph.hops if row.key_count is None else 1) + 1)
    ]
    for kind, split in graph.splits.items():
        told = [_exposure(row.exposed, row.right) for row in split.leakage]
        counts = "/".join(str(count) for count in split.parts.values()) or "-"
        rows.append([f"{kind} *" if split.chosen else kind, counts, *(told or ["-"] * len(columns))])
    table(
        "splits: test nodes with a training neighbour, and how often its label is right (* chosen)",
        ("split", "train/val/test", *columns),
        rows,
    )
    for kind, split in graph.splits.items():
        if split.refused_because is not None:
            line(f"split {kind} is not possible: {split.refused_because}")


def _exposure(exposed: float | None, right: float | None) -> str:
    if exposed is None:
        return "-"
    return f"{exposed:.0%}" if right is None else f"{exposed:.0%}, {right:.0%}"


def plan(document: Plan) -> None:
    """Print the plan of a dry run."""
    parts = ["train", "val", "test"]
    if any("unlabelled" in sizes for sizes in document.regions.values()):
        parts.append("unlabelled")
    rows = [[name, *(sizes.get(part, 0) for part in parts)] for name, sizes in document.regions.items()]
    words = words_of("node" if document.of_nodes else "image")
    table(words.cases, ("region", *parts), rows)
    taught = [("foundation", document.foundation)]
    taught += [(f"teacher {index}", one) for index, one in enumerate(document.teachers, 2)]
    teachers = [(name, one) for name, one in taught if one is not None]
    networks = [
        [name, network.backbone, network.parameters, network.macs]
        for name, network in (*teachers, ("student", document.student))
    ]
    table("networks", ("", "backbone", "parameters", "MACs"), networks)
    for known in (*(one for _, one in teachers), document.student):
        if known.weights_match is not None:
            line(f"{known.weights}: {known.weights_match}")
    for name, one in teachers:
        if one.weights is not None and one.epochs:
            what = "the foundation" if name == "foundation" else name
            line(f"{what} is fine-tuned first: {plural(one.epochs, 'epoch')} of {plural(one.steps_per_epoch, 'step')}")
    for phase in document.phases:
        if phase.name is not None:
            epochs, steps = plural(phase.epochs, "epoch"), plural(phase.steps_per_epoch, "step")
            line(f"the students are pre-distilled first, as one backbone: {epochs} of {steps}")
    if (checked := document.rehearsal) is not None:
        _rehearsal(checked, words.case)
    if document.expert_layers:
        _expert_layers(document.expert_layers)
        line(f"experts add {document.expert_mac_overhead:.1%} to the multiply-accumulates of these layers")
    if (kept := document.teacher_cache) is not None:
        line(
            f"teacher cache: at most {kept.images:,} {words.cases} x {kept.views} views x "
            f"{kept.bytes_per_view / 1024:,.1f} KiB = {kept.mib:,.1f} MiB of {kept.dtype} features in "
            f"{kept.directory} (cache.budget {kept.budget_mib:g} MiB)"
        )
    routing = document.routing
    if routing is not None:
        what, size = ("the first stage" if routing.router == "features" else f"the {words.case}"), routing.reads
        line(
            f"router '{routing.router}' reads {what} ({' x '.join(map(str, size))}): {routing.macs:,} MACs, "
            f"{routing.share_of_backbone:.2%} of the backbone; it mixes {plural(routing.adapters, 'adapter')} in "
            f"{plural(routing.layer_count, 'layer')}, {routing.student_macs:,} MACs in all"
        )
    for name, reason in document.layers_without_experts:
        line(f"no experts in {name}: {reason}")
    layers = len(document.expert_layers) if routing is None else routing.layer_count
    line(
        f"{document.method}: {plural(document.epochs, 'epoch')}, batch {document.batch_size}, "
        f"{document.training_parameters:,} parameters to train, {plural(layers, 'expert layer')}"
    )


def _rehearsal(found: Rehearsal, case: str) -> None:
    rows = [
        [
            f"{stage}",
            *(" x ".join(map(str, side)) for side in (row.teacher_shape, row.reprogrammed_shape, row.student_shape)),
            row.parameters,
        ]
        for stage, row in enumerate(found.stages, start=1)
    ]
    table("stages", ("stage", "teacher", "reprogrammed", "student", "parameters of phi"), rows)
    line(
        f"{found.trainable_parameters:,} parameters are trained, {found.frozen_parameters:,} frozen; CKA view "
        f"{found.cka_view}"
    )
    line(
        f"MACs per {case}, forward: student {found.student_macs:,}, reprogramming {found.extra_macs:,} more, "
        f"teacher {found.teacher_macs:,}"
    )
    checked = found.gradient_paths
    table("gradients, checked by backward passes", ("path", "flows"), [[one.path, one.flows] for one in checked])


def _expert_layers(layers: Sequence[ExpertLayer]) -> None:
    rows = [
        [
            layer.name,
            "x".join(map(str, layer.weight)),
            layer.rank,
            layer.strategy,
            layer.macs,
            f"{layer.overhead:.1%}",
        ]
        for layer in layers
    ]
    table("layers with experts", ("layer", "weight", "rank", "strategy", "MACs", "experts add"), rows)
