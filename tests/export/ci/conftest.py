"""A job of a pipeline, with `gh`, `curl` and a remote that only remember."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[3] / "examples" / "ci"
FAKE = """#!{python}
import json, os, pathlib, shutil, sys
root, name, words = pathlib.Path(os.environ["REMEMBERED"]), pathlib.Path(sys.argv[0]).name, sys.argv[1:]
bodies = [word.partition("@")[2] for word in words if word.startswith(("body=@", "body@"))]
sent = [pathlib.Path(path).read_text() for path in bodies]
with open(root / "calls.jsonl", "a") as stream:
    stream.write(json.dumps([name, words, sent]) + "\\n")
if os.environ.get("REFUSED"):
    sys.exit("HTTP 403: Resource not accessible by integration")
assets = root / "assets"
assets.mkdir(exist_ok=True)
if words[:2] == ["release", "view"]:
    print("\\n".join(path.name for path in assets.iterdir()))
elif words[:2] == ["release", "upload"]:
    shutil.copy(words[3], assets)
elif words[:2] == ["release", "download"]:
    shutil.copy(assets / words[words.index("--pattern") + 1], words[words.index("--dir") + 1])
elif "--upload-file" in words:
    shutil.copy(words[words.index("--upload-file") + 1], assets)
elif "--head" in words:
    sys.exit(22 * (not (assets / (words[-1].split("/")[-2] + ".tar.gz")).exists()))
elif "--output" in words:
    shutil.copy(assets / (words[-1].split("/")[-2] + ".tar.gz"), words[words.index("--output") + 1])
elif words[-1].endswith("/user"):
    print('{{"id": 7}}')
elif "&page=" in words[-1]:
    print(json.dumps(json.loads(os.environ["ANSWER"])[int(words[-1].split("&page=")[1].split("&")[0]) - 1]))
else:
    print(os.environ.get("ANSWER", ""))
"""


class Job:
    """A job of a pipeline in `path`: its environment, and what its scripts asked of the outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bin, self.remembered = path / "bin", path / "remembered"
        for directory in (self.bin, self.remembered):
            directory.mkdir()
        for name in ("gh", "curl"):
            self.install(name, FAKE.format(python=sys.executable))
        path_list = os.pathsep.join([str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"]])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "CI_", "GITLAB_"))}
        self.environment = {**kept, "PATH": path_list, "REMEMBERED": str(self.remembered), "OMP_NUM_THREADS": "1"}

    def install(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def decompose(self, code: int, *also: str) -> None:
        """Let `decompose` be a program that measures nothing: a verdict on latency is never certain in a test."""
        lines = ["#!/bin/sh", *also, 'echo "$@" > "$REMEMBERED/decompose"', "echo '{}'"]
        lines += ['while [ $# -gt 0 ]; do case $1 in --markdown|--junit) echo "### Gate" > "$2";; esac; shift; done']
        self.install("decompose", "\n".join([*lines, f"exit {code}"]))

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPTS / script), *words], cwd=self.path, env={**self.environment, **environment}, text=True,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip

    @property
    def calls(self) -> list[Any]:
        path = self.remembered / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


@pytest.fixture
def make_job() -> Callable[[Path], Job]:
    """Open a job in a directory that is there."""
    return Job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job in the test's own directory."""
    return Job(tmp_path)
