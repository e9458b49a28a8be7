"""The edge of the program: start-up, verbs, errors as one line, and stdout that holds results only."""

from __future__ import annotations

import errno
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

import lorkit.decompose
from lorkit.cli import main
from lorkit.cli.reference import verbs
from lorkit.decompose.errors import ArtifactError, MissingRuntimeError

HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "monai", "rich", "pydantic")
VERBS = [verb.__name__ for verb in main.VERBS]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_every_verb_and_loads_nothing_heavy() -> None:
    code = f"""
import sys
from lorkit.cli.main import run
code = run(["--help"])
print("loaded", [name for name in {HEAVY} if name in sys.modules], code)
"""
    result = python(code)
    assert result.stdout.splitlines()[-1] == "loaded [] 0", result
    for verb in [*VERBS, "profiles"]:
        assert f"\n  {verb} " in result.stdout


def test_help_starts_fast() -> None:
    """Best of a few processor times: the wall clock belongs to everyone on a shared machine."""
    code = "import time, sys; from lorkit.cli.main import run; run(['--help']); print('cpu', time.process_time())"
    seconds = min(float(python(code).stdout.split()[-1]) for _ in range(3))
    assert seconds < 0.4


@pytest.mark.parametrize("verb", [*VERBS, "profiles list", "profiles show", "profiles detect"])
def test_every_verb_has_help(decompose: Callable[..., Any], verb: str) -> None:
    outcome = decompose(*verb.split(), "--help")
    assert outcome.code == 0
    assert f"Usage: decompose {verb}" in outcome.stdout
    assert "--json" in outcome.stdout


def test_version_and_bare_call(decompose: Callable[..., Any]) -> None:
    assert decompose("--version").stdout.startswith("decompose (lorkit) ")
    assert "Commands:" in decompose().stdout


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["trian"], "error: unknown verb 'trian'; required: one of init, "),
        (["train", "--resum"], "did you mean '--resume'?"),
        (["gate", "--margin", "wide"], "error: invalid value for '--margin': "),
        (["gate", "--on-inconclusive", "shrug"], "'shrug' is not one of 'inconclusive', 'pass', 'fail'"),
        (["predict"], "error: missing argument"),
        (["profiles"], "error: missing command; see `decompose profiles --help`"),
        (["train", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["bench", "--batch", "1,x"], "error: --batch 1,x; required: whole numbers"),
        (["compare", "--fractions", "2"], "error: --fractions 2; required: numbers above 0"),
        (["evaluate", "here", "--run", "there"], "error: both here and --run there; required: one of them"),
        (["extract"], "error: no finished run in runs/; required: a run; start one with `decompose train`"),
        (["profiles", "show", "h20"], "did you mean 'h200'?"),
    ],
)
def test_usage_errors_are_one_line(decompose: Callable[..., Any], words: list[str], line: str) -> None:
    outcome = decompose(*words)
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert outcome.stderr.count("\n") == 1
    assert line in outcome.stderr


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `decompose train` end with an error."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(lorkit.decompose, "load_config", fail, raising=False)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ArtifactError("a", required="b", fix="c"), 4, "error: a; required: b; c"),
        (MissingRuntimeError("no\nruntime"), 5, "error: no runtime"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"), 6, "No space left on device (runs/x)"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), "runs"), 6, "Permission denied (runs)"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (ZeroDivisionError("division by zero"), 70, "ZeroDivisionError: division by zero; this is a bug; run again"),
    ],
)
def test_exit_codes(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    failing(monkeypatch, error)
    outcome = decompose("train")
    assert (outcome.code, outcome.stdout) == (code, "")
    assert outcome.stderr.count("\n") == 1
    assert line in outcome.stderr
    document = decompose("train", "--json").document
    assert (document["kind"], document["exit_code"], document["schema_version"]) == ("error", code, 1)
    assert document["message"] in outcome.stderr


@pytest.mark.parametrize("words", [["--debug", "train"], ["train", "--debug"]])
def test_debug_shows_the_traceback(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    failing(monkeypatch, ZeroDivisionError())
    outcome = decompose(*words)
    assert outcome.code == 70
    assert "Traceback" in outcome.stderr


def test_what_libraries_print_does_not_reach_stdout() -> None:
    """Both from Python and from below it, as an engine builder in C++ does."""
    code = """
import os, lorkit.decompose
from lorkit.cli.main import run
def chatty(*_, **__):
    print("from python", flush=True); os.write(1, b"from below\\n")
    raise SystemError("stop")
lorkit.decompose.load_config = chatty
run(["train", "--json"])
print("stdout is back")
"""
    result = python(code)
    text, _, rest = result.stdout.partition("}\n")
    assert json.loads(text + "}")["exit_code"] == 70
    assert rest == "stdout is back\n"
    assert "from python" in result.stderr
    assert "from below" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_tidy(number: signal.Signals) -> None:
    """A real signal while a verb works: Ctrl-C, or what a container sends.

    The child takes SIGINT whatever it inherits: background jobs of a shell ignore it, and so do their children.
    """
    code = """
import signal, sys, time, lorkit.decompose
from lorkit.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def wait(*_, **__):
    print("ready", file=sys.stderr, flush=True); time.sleep(60)
lorkit.decompose.load_config = wait
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


def test_a_closed_pipe_is_no_failure() -> None:
    code = "import sys; from lorkit.cli.main import run; sys.exit(run(['profiles', 'list']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None  # closed here: communicate would read it
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_verbs_are_those_of_the_app() -> None:
    import typer.main

    names = [path.removeprefix("decompose ") for path, _ in verbs(typer.main.get_command(main.app))]
    assert names == [*VERBS, "profiles list", "profiles show", "profiles detect"]


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_verdict(closed: str, tmp_path: Path) -> None:
    program = "from lorkit.cli.main import main; main()"
    command = f'exec "$0" -c "{program}" gate --run nowhere --json {closed}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
