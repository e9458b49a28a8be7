"""`decompose pack`: one archive of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import completion, options


def pack(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="The run. Default: the newest.", autocompletion=completion.runs),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The archive. Default: <id>.tar.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write one archive of a run, to keep or to send.

    It holds experts, exports, measurements and report, the trained model and its foundation; not the checkpoints, the
    exports of the foundation, which `export` makes again, and the key of patients. `tar -xf ID.tar -C runs` unpacks it.
    """
    from lorkit.cli.output.next_steps import suggest
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import pack as write

    with ProgressLine("pack") as progress:
        document = write(run, out=out, force=force, on_event=lambda event: progress(event) if progress.live else None)
    if as_json:
        print_json(document)
        return
    for name, found in document.left_out.items():
        print_status(f"left out: {name} ({found.size_bytes / 2**20:,.1f} MiB)")
    for text in document.warnings:
        print_status(f"note: {text}")
    print_status(f"{document.run}: {document.file_count} files, {document.size_bytes / 2**20:,.1f} MiB")
    print_result(str(document.archive))
    suggest(f"mkdir -p runs && tar -xf {document.archive.name} -C runs", "decompose inspect runs/" + document.run)
