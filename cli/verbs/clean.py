"""`decompose clean`: what nothing needs, listed and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def clean(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The directory of runs.")] = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    interrupted: Annotated[
        bool, typer.Option("--interrupted", help="Also interrupted trainings, which --resume would continue.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List what no finished artifact needs, and with `--yes` remove it.

    That is: checkpoints of finished trainings, cached features of teachers (computed again where `cache.enabled` asks
    for them), and what killed commands left; nothing that a manifest lists, and nothing that a running command has
    locked.
    """
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import clean as remove

    document = remove(out, yes=yes, interrupted=interrupted)
    if as_json:
        print_json(document)
        return
    for one in document.entries:
        note = f" ({one.state})" if one.state in ("in use", "kept") else ""
        print_result(f"{one.size_bytes / 2**20:10,.1f} MiB  {one.kind:<11}  {one.path}{note}")
    total = f"{document.size_bytes / 2**20:,.1f} MiB"
    listed = sum(one.state == "listed" for one in document.entries)
    removed = sum(one.state == "removed" for one in document.entries)
    if listed:
        print_status(f"{listed} of {len(document.entries)} can be removed, {total}: `decompose clean --yes`")
    else:
        print_status(f"{removed} removed, {total}" if removed else "nothing to remove")
