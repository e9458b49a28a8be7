"""`decompose schema`: JSON Schemas for other programs."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A document, such as gate or report; docs/schemas has all.")
    ],
) -> None:
    """Print the JSON Schema of a document.

    Documents are the output of --json, and files of artifacts. docs/schemas has every schema.
    """
    from lorkit.cli.output.streams import print_result
    from lorkit.decompose.documents.schemas import schema_text

    print_result(schema_text(name).rstrip())
