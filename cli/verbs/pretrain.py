"""`decompose pretrain`: train a foundation model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lorkit.cli import options


def pretrain(
    config: options.ConfigPath = None,
    settings: options.Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted training.")] = False,
    out: options.FoundationsOut = Path("foundations"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Train a foundation model on all regions.

    `train` does this when needed, and uses an existing one.
    """
    from lorkit.cli.output.next_steps import command, settings_words, suggest
    from lorkit.cli.output.progress import ProgressLine
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose import load_config
    from lorkit.decompose import pretrain as prepare
    from lorkit.decompose.documents.training import PretrainDocument

    loaded = load_config(config, overrides=settings or ())
    with ProgressLine() as progress:
        events = options.BuiltInSaid(config, progress)
        teacher = options.onnx_teacher(loaded)
        path = prepare(loaded, out=out, resume=resume, force=force, teacher=teacher, on_event=events)
        events.say()
    if as_json:
        print_json(PretrainDocument(path=path))
    elif path is None:
        print_status(f"nothing to do: the configuration names the weights {loaded.foundation.weights}")
    else:
        print_result(str(path))
    suggest(command("train", config, *settings_words(settings)))
