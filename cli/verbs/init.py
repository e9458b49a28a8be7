"""`decompose init`: write a commented configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options

FILE = Path("decompose.yaml")


def init(
    from_data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Fill in the regions from the data in this directory, or from this file."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="COLUMN", help="Column of the label of tables in --from-data.")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Write one for graphs, such as payments.")] = False,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")] = FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a commented decompose.yaml."""
    from lorkit.cli.output.drafts import Drafts
    from lorkit.cli.output.next_steps import command, suggest
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import load_config
    from lorkit.decompose.artifacts import write_text
    from lorkit.decompose.errors import UsageError

    if graph and from_data is not None:
        raise UsageError("--graph with --from-data", required="one of them", fix="leave one out")
    if label is not None and from_data is None:
        raise UsageError("--label without --from-data", required="a table", fix="name it with --from-data")
    _check_free(out, force=force)  # before data are read, which may take long
    drafts = Drafts.of(from_data, label=label, graph=graph)
    texts = drafts.texts(out)
    for path in texts:
        _check_free(path, force=force)
    for path, text in texts.items():
        write_text(path, text)
    configs = {path: load_config(path) for path in texts}
    if as_json:
        print_json(drafts.document({path: list(config.regions) for path, config in configs.items()}))
        return
    for line in drafts.lines():
        print_status(line)
    for path, config in configs.items():
        print_status(f"{path}: regions {', '.join(config.regions)}")
    for path in texts:
        print_result(str(path))
    named = [None if path == FILE else path for path in texts]
    suggest(*(command(verb, path) for path in named for verb in ("data", "train")))


def _check_free(path: Path, *, force: bool) -> None:
    from lorkit.decompose.errors import UsageError

    if path.exists() and not force:
        raise UsageError(f"{path} exists", required="a new file", fix="choose another with --out, or use --force")
