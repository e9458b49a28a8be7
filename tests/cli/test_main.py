"""The edge of the program: start-up, commands, errors as one line, and stdout that holds results only."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lorkit.cli import application

HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "monai", "rich", "pydantic")
COMMANDS = [*application.COMMANDS]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_every_command_and_loads_nothing_heavy() -> None:
    code = f"""
import sys
from lorkit.cli.main import run_command_line
code = run_command_line(["--help"])
print("loaded", [name for name in {HEAVY} if name in sys.modules], code)
"""
    result = python(code)
    assert result.stdout.splitlines()[-1] == "loaded [] 0", result
    for command in [*COMMANDS, "profiles"]:
        assert f"\n  {command} " in result.stdout


def test_help_starts_fast() -> None:
    """Best of a few processor times: the wall clock belongs to everyone on a shared machine."""
    code = (
        "import time, sys; from lorkit.cli.main import run_command_line; run_command_line(['--help']);"
        "print('cpu', time.process_time())"
    )
    seconds = min(float(python(code).stdout.split()[-1]) for _ in range(3))
    assert seconds < 0.4


@pytest.mark.parametrize("command", [*COMMANDS, "profiles list", "profiles show", "profiles detect"])
def test_every_command_has_help(decompose: Callable[..., Any], command: str) -> None:
    outcome = decompose(*command.split(), "--help")
    assert outcome.code == 0
    assert f"Usage: decompose {command}" in outcome.stdout
    assert "--json" in outcome.stdout or command == "help"


@pytest.mark.parametrize("words", [["-h"], ["help"], ["--help"]])
def test_the_short_option_and_the_verb_are_the_help(decompose: Callable[..., Any], words: list[str]) -> None:
    assert decompose(*words).stdout.startswith("Usage: decompose [OPTIONS] COMMAND")
    train = [decompose("train", "-h"), decompose("help", "train"), decompose("train", "--help")]
    assert len({one.stdout.rstrip() for one in train}) == 1
    assert "--dry-run" in train[0].stdout


def completed(line: str, shell: str, folder: Path) -> list[str]:
    """What a shell offers after the words of a line, the last of which may be empty."""
    words = line.split(" ")
    told = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    if shell != "bash":
        told = {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = subprocess.run(
        [sys.executable, "-c", "from lorkit.cli.main import main; main()"],
        env={**os.environ, **told, "_DECOMPOSE_COMPLETE": f"complete_{shell}"},
        capture_output=True, text=True, check=False, timeout=60, cwd=folder,
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_shell_completes_what_lies_in_the_directory(shell: str, tmp_path: Path) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "manifest.json").write_text("{}")
    (tmp_path / "runs" / "first" / "regions.json").write_text(json.dumps({"regions": [{"name": "chest"}]}))
    for line, name in (("decompose gate --region c", "chest"), ("decompose report --run ", "first")):
        assert any(name in word for word in completed(line, shell, tmp_path)), (line, shell)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_completion_is_printed(shell: str) -> None:
    code = "import sys; from lorkit.cli.main import run_command_line; sys.exit(run_command_line(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "--show-completion", shell]
    env = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert "_DECOMPOSE_COMPLETE" in done.stdout, done.stderr


def test_the_version_loads_nothing_heavy() -> None:
    code = f"""
import sys
from lorkit.cli.main import run_command_line
code = run_command_line(["--version"])
print("loaded", [name for name in {HEAVY} if name in sys.modules], code)
"""
    assert python(code).stdout.splitlines()[1:] == ["loaded [] 0"]


def test_nothing_is_collected_before_the_work_begins() -> None:
    code = """
import gc
from lorkit.cli import main
from lorkit.cli.output.progress import ProgressLine

def run(words):
    before = gc.isenabled()
    with ProgressLine("work"):
        print("collects", before, gc.isenabled())
    return 0

main.run_command_line = run
main.main()
"""
    assert python(code).stdout.splitlines() == ["collects False True"]


def test_version_and_bare_call(decompose: Callable[..., Any]) -> None:
    assert decompose("--version").stdout.startswith("decompose (lorkit) ")
    assert "Commands:" in decompose().stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_tidy(number: signal.Signals) -> None:
    """A real signal while a command works: Ctrl-C, or what a container sends.

    The child takes SIGINT whatever it inherits: background jobs of a shell ignore it, and so do their children.
    """
    code = """
import signal, sys, time, lorkit.decompose
from lorkit.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def wait(*_, **__):
    print("ready", file=sys.stderr, flush=True); time.sleep(60)
for name in ("load_config", "train", "train_from"):  # no time passes with the import of torch
    setattr(lorkit.decompose, name, wait)
sys.argv = ["decompose", "train"]
main()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    assert rest.startswith("error: interrupted")
    assert rest.count("\n") == 1
