"""Run commands in forks of one process that imports what they need, with streams that are closed, full or left."""

from __future__ import annotations

import gc
import io
import json
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

OUT, ERR = 1, 2
STREAMS: dict[str, dict[int, str]] = {
    "as they are": {},
    "stdout closed": {OUT: "closed"},
    "stderr closed": {ERR: "closed"},
    "both closed": {OUT: "closed", ERR: "closed"},
    "stdout full": {OUT: "full"},
    "stderr full": {ERR: "full"},
    "stdout full, stderr full": {OUT: "full", ERR: "full"},
    "stdout left": {OUT: "left"},
    "stderr left": {ERR: "left"},
    "both left": {OUT: "left", ERR: "left"},
}
USELESS = ("--run", "nowhere")
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("--version",),
    ("--help",),
    ("help", "train"),
    ("schema", "error"),
    ("profiles", "list"),
    ("profiles", "detect", "--json"),
    ("inspect", "picture.png"),
    ("init", "--out", "drafted.yaml", "--force"),
    ("data", "absent.yaml"),
    ("gote",),
    ("gate", "--sede"),
    ("gate", "--seed", "1"),
    ("gate", "--seed", "3"),
    ("gate", "--seed", "1", "--json"),
    ("gate", *USELESS),
    ("gate", *USELESS, "--json"),
    ("pack", "nowhere"),
    ("clean", "--out", "nowhere"),
    *((verb, *USELESS, "--json") for verb in ("predict", "verify")),
    *((verb, *USELESS) for verb in ("evaluate", "report", "bench")),
    ("pretrain", "absent.yaml", "--json"),
    ("train", "absent.yaml"),
    ("compare", "absent.yaml"),
    *((verb, *USELESS) for verb in ("extract", "export")),
    ("doctor",),
)
"""From those that import little to those that import much: a fork of a large process costs more than the command."""


def spoil(descriptor: int, how: str) -> None:
    """Close a stream of this process, or let it lead to a full device or to a pipe that nobody reads."""
    if how == "closed":
        os.close(descriptor)
    elif how == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, descriptor)


def code_of(words: tuple[str, ...], streams: dict[int, str]) -> int:
    """Return the exit code of a command in a fork, as a shell sees it."""
    from lorkit.cli.main import main

    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (OUT, ERR):
            os.dup2(nowhere, descriptor)
        for descriptor, how in streams.items():
            spoil(descriptor, how)
        for name, descriptor in (("stdout", OUT), ("stderr", ERR)):
            closed = streams.get(descriptor) == "closed"
            setattr(sys, name, None if closed else io.TextIOWrapper(io.FileIO(descriptor, "w", closefd=False)))
        sys.argv[1:] = words
        code = 1  # also of an error that nobody catches
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            try:  # as Python does when it ends
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException:
                code = 120
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def judge(run: Any = None, *, seed: int, **options: Any) -> Any:
    """Stand in for `gate` with the verdict that the seed names."""
    from lorkit.decompose.documents.gate import GateDocument

    if not seed:
        from lorkit.decompose.runs import open_run

        open_run(run)
    verdict = {1: "fail", 3: "inconclusive"}[seed]
    facts: dict[str, Any] = {
        "verdict": verdict,
        "regions": {},
        "warnings": [],
        "synthetic": False,
        "on_inconclusive": "inconclusive",
        "run_regions": None,
    }
    return GateDocument.model_construct(**facts)


def prepare() -> None:
    """Write a picture, and replace what takes long: the gate's measuring and the self-test.

    The parser of the command line, which is most of the time of a command that ends at once, is made once for all.
    """
    import typer.main
    from PIL import Image

    import lorkit.export
    from lorkit.cli import selftest
    from lorkit.decompose.documents.hardware import SelfTestResult

    Image.new("L", (8, 8)).save("picture.png")
    passed = SelfTestResult(passed=True, differences={"export": 0.0}, tolerance=1e-4, seconds=0.1)
    selftest.self_test = lambda: passed
    lorkit.export.gate = judge
    typer.main.get_command = cache(typer.main.get_command)


def main() -> None:
    """Write the exit codes by command and streams."""
    gc.disable()  # as `main` does until the work of a command begins; each fork is one command
    from lorkit.cli.main import run_command_line

    prepare()
    codes = {}
    for words in COMMANDS:
        run_command_line(words)  # so that no fork has to import what the command needs
        codes[" ".join(words)] = {name: code_of(words, streams) for name, streams in STREAMS.items()}
    Path("codes.json").write_text(json.dumps(codes), encoding="utf-8")


if __name__ == "__main__":
    main()
