"""`decompose init`: write a commented configuration."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.data.readers.discovery import FoundSource

FILE = Path("decompose.yaml")


def init(
    from_data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Fill in the regions from the data in this directory.")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Write one for graphs, such as payments.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")] = FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a commented decompose.yaml."""
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import load_config
    from lorkit.decompose.artifacts import write_text
    from lorkit.decompose.errors import UsageError

    if out.exists() and not force:
        raise UsageError(f"{out} exists", required="a new file", fix="choose another with --out, or use --force")
    if graph and from_data is not None:
        raise UsageError("--graph with --from-data", required="one of them", fix="leave one out")
    found: Sequence[FoundSource] = ()
    if from_data is not None:
        from lorkit.decompose.data.readers.discovery import discover

        found = discover(from_data)
    write_text(out, graph_template() if graph else template(found, base=out.resolve().parent))
    config = load_config(out)
    skipped = {str(entry.path): entry.problem for entry in found if entry.problem}
    if as_json:
        print_json({"config": out, "regions": list(config.regions), "skipped": skipped}, kind="init")
        return
    for path, problem in skipped.items():
        print_status(f"left out {path}: {problem}")
    print_status(f"regions: {', '.join(config.regions)}; next: `decompose data`, then `decompose train`")
    print_result(str(out))


def template(found: Sequence[FoundSource], *, base: Path) -> str:
    """Return the text of a configuration with the regions that were found, or the built-in ones."""
    from lorkit.decompose import default_config
    from lorkit.export.rendering.templates import environment

    default = default_config()
    regions = [_region(entry, base) for entry in found] or [
        f"  {name}: {{data: phantom:{name}}}" for name in default.regions
    ]
    page = environment(Path(__file__).parent).get_template("decompose.yaml.jinja")
    return page.render(default=default, regions=regions, real=bool(found))


def graph_template() -> str:
    """Return the text of a configuration for graphs, with the built-in one."""
    from lorkit.export.rendering.templates import environment

    return environment(Path(__file__).parent).get_template("graph.yaml.jinja").render(epochs=10, batch_size=64)


def _region(entry: FoundSource, base: Path) -> str:
    if entry.problem:
        return f"  # {entry.path.name}: {entry.problem}"
    import yaml

    paths = [entry.path] if entry.root is None else [entry.path, entry.root]
    data = [Path(os.path.relpath(path.resolve(), base)).as_posix() for path in paths]
    value: dict[str, object] = {"data": data[0] if len(data) == 1 else data}
    if entry.labels:
        value |= {"task": "multilabel", "classes": list(entry.labels)}
    return f"  {entry.name}: " + yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=4096).strip()
