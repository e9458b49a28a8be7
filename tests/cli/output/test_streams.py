"""Standard output holds results and nothing else, and may be closed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lorkit.cli.output import streams
from lorkit.decompose.documents.base import ErrorDocument


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_what_libraries_print_does_not_reach_stdout() -> None:
    """Both from Python and from below it, as an engine builder in C++ does."""
    code = """
import os, lorkit.decompose
from lorkit.cli.main import run_command_line
def chatty(*_, **__):
    print("from python", flush=True); os.write(1, b"from below\\n")
    raise SystemError("stop")
for name in ("load_config", "train", "train_from"):  # no time passes with the import of torch
    setattr(lorkit.decompose, name, chatty)
run_command_line(["train", "--json"])
print("stdout is back")
"""
    result = python(code)
    text, _, rest = result.stdout.partition("}\n")
    assert json.loads(text + "}")["exit_code"] == 70
    assert rest == "stdout is back\n"
    assert "from python" in result.stderr
    assert "from below" in result.stderr


def test_a_closed_pipe_is_no_failure() -> None:
    code = "import sys; from lorkit.cli.main import run_command_line; sys.exit(run_command_line(['profiles', 'list']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None  # closed here: communicate would read it
        assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "closed"),
    [("gate --run nowhere", "<&- >&- 2>&-"), ("profiles show nowhere", ">&-"), ("profiles show nowhere", "2>&-")],
)
def test_a_closed_stream_is_no_verdict(words: str, closed: str, tmp_path: Path) -> None:
    """Of the gate as an interpreter of its own starts; `test_exit_codes` tries every command in forks."""
    program = "from lorkit.cli.main import main; main()"
    command = f'exec "$0" -c "{program}" {words} --json {closed}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_one_of_several_processes_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A training on two devices runs the command line twice; results, notices and documents are those of the first."""
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        streams.print_result("runs/one")
        streams.print_json(ErrorDocument(exit_code=4, message="m"))
        streams.print_status("trained: chest")
        streams.print_sheet("a table\n", streams.sheet_stream())
        streams.print_error(f"error: of {rank}")
    captured = capsys.readouterr()
    assert [captured.out.count(text) for text in ("runs/one", '"exit_code"', "a table")] == [1, 1, 1]
    assert captured.err == "trained: chest\nerror: of 0\nerror: of 1\n"
