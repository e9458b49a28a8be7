"""Run commands in forks of one process, and tell which libraries each of them loads.

    python loaded_libraries.py '{"torch": false, "libraries": ["torch"], "commands": [["clean"]]}'

The process has imported what most commands import, so that no fork does: the forks of commands that load none of the
libraries would tell of one that these modules load. With `torch` it has loaded PyTorch, which takes most of the time of
commands that need it, and knows the backbone of the runs of tests. Prints the exit code and the libraries of each
command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

SHARED = ("lorkit.cli.main", "lorkit.decompose.documents.report", "lorkit.export.benchmarking.benchmark")
SHARED_WITH_TORCH = (
    "lorkit.decompose.evaluation.evaluation", "lorkit.decompose.training.training",
    "lorkit.export.building.verification", "torch._dynamo",
)  # fmt: skip


def loaded_by(
    commands: Sequence[Sequence[str]], libraries: Sequence[str], where: Path, *, torch: bool = False
) -> list[tuple[int, list[str]]]:
    """Return the exit code of each command, run in a directory, and those of the libraries that it loads."""
    asked = json.dumps({"torch": torch, "libraries": [*libraries], "commands": [[*words] for words in commands]})
    script = [sys.executable, str(Path(__file__)), asked]
    done = subprocess.run(script, cwd=where, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [(code, names) for code, names in json.loads(done.stdout)]


def run_in_fork(words: Sequence[str], libraries: Sequence[str], *, torch: bool) -> tuple[int, list[str]]:
    """Run a command in a fork, whose output is thrown away."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        code = -1
        try:
            from lorkit.cli.main import run_command_line

            if torch:
                know_the_backbone()
            code = run_command_line(words)
        finally:
            names = [name for name in libraries if name in sys.modules]
            os.write(writer, json.dumps([code, names]).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        code, names = json.loads(stream.read())
    os.waitpid(child, 0)
    return code, names


def know_the_backbone() -> None:
    """Add the backbone of two layers to the registry, as the fixtures do."""
    from tiny_backbones import Tiny

    from lorkit.decompose.models.backbones.registry import BACKBONES, Known

    BACKBONES["tiny"] = Known(lambda channels, image_size: Tiny(channels))


def main() -> None:
    """Print what each command loads."""
    asked = json.loads(sys.argv[1])
    if asked["torch"]:
        import torch

        torch.set_num_threads(1)
    for module in (*SHARED, *(SHARED_WITH_TORCH if asked["torch"] else ())):
        import_module(module)
    found = [run_in_fork(words, asked["libraries"], torch=asked["torch"]) for words in asked["commands"]]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
