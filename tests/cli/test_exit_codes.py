"""Exit code 1 is FAIL of a gate and nothing else, whatever the streams, the arguments and the report of errors do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked_commands
import pytest

import lorkit.decompose
from lorkit.cli import application, errors
from lorkit.cli.main import run_command_line

VERBS = {*application.COMMANDS, "profiles"}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """Exit codes by command and by what its streams were, each in a process of its own."""
    folder = tmp_path_factory.mktemp("streams")
    words = [sys.executable, "-W", "ignore", forked_commands.__file__]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads((folder / "codes.json").read_text(encoding="utf-8"))
    return found


def test_every_verb_is_tried_with_every_stream(codes: dict[str, dict[str, int]]) -> None:
    assert {line.split()[0] for line in codes} >= VERBS
    assert {found["as they are"] for found in codes.values()} == {0, 1, 2, 3}
    assert all(set(found) == set(forked_commands.STREAMS) for found in codes.values())


def test_no_stream_ends_a_command_with_a_verdict(codes: dict[str, dict[str, int]]) -> None:
    """Each keeps its own code, or says by 6 that its result is lost."""
    for line, found in codes.items():
        own = found["as they are"]
        for streams, code in found.items():
            lost = own == 0 and "stdout full" in streams
            assert code == (6 if lost else own), (line, streams, found)


def test_a_verdict_is_kept(codes: dict[str, dict[str, int]]) -> None:
    for verdict in (1, 3):
        assert set(codes[f"gate --seed {verdict}"].values()) == {verdict}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_byte_that_is_no_text_is_a_usage_error(verb: str, decompose: Callable[..., Any]) -> None:
    for word in ("\udcff", "--run=\udcff", "--out=\udcff", "--set=\udcff=1", "--\udcff"):
        outcome = decompose(verb, word, "--json")
        assert outcome.code == 2
        assert outcome.stderr.startswith("error: argument ")
        assert "bytes that are no UTF-8" in outcome.document["message"]
    assert decompose(verb, "--help").code == 0


def test_a_directory_whose_name_is_no_text_is_a_usage_error(decompose: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "\udcff").mkdir()
    os.chdir(tmp_path / "\udcff")
    outcome = decompose("train")
    assert (outcome.code, list(Path.cwd().iterdir())) == (2, [])
    assert outcome.stderr.startswith("error: the current directory ")


def test_an_error_while_an_error_is_reported_is_internal(
    decompose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def fail(error: BaseException) -> Callable[..., None]:
        def raise_it(*_: object, **__: object) -> None:
            raise error

        return raise_it

    for error, code in ((Wordless(), 70), (SystemExit(1), 70), (SystemExit(), 70), (BrokenPipeError(32, "gone"), 6)):
        monkeypatch.setattr(lorkit.decompose, "load_config", fail(error), raising=False)
        assert decompose("train").code == code, error
    monkeypatch.setattr(lorkit.decompose, "load_config", fail(ValueError("x")), raising=False)
    monkeypatch.setattr(errors, "describe_error", fail(MemoryError()))
    assert decompose("train").code == 70
    monkeypatch.setattr(errors, "describe_error", fail(KeyboardInterrupt()))
    assert decompose("train").code == 130


def test_an_install_that_cannot_be_imported_is_no_verdict() -> None:
    code = "import sys; sys.modules['typer'] = None; from lorkit.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (70, 1)
    assert done.stderr.startswith("error: lorkit cannot be imported (")


def test_a_lost_result_is_said(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    code = "import sys; sys.argv[1:] = ['profiles', 'list']; from lorkit.cli.main import main; main()"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 6
    assert done.stderr == (
        "error: the result was not written to standard output (No space left on device); "
        "required: a stream that takes it; free the disk, or send it elsewhere\n"
    )


def test_a_path_keeps_its_bytes(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    from lorkit.cli.output import streams
    from lorkit.decompose.documents.base import ErrorDocument

    with streams.results_only():
        streams.print_result("runs/\udcff")
        streams.print_json(ErrorDocument(exit_code=4, message="\udcff"))
    out = capfdbinary.readouterr().out
    assert out.startswith(b"runs/\xff\n")
    assert json.loads(out.partition(b"\n")[2])["message"] == "\udcff"
    assert run_command_line(["help"]) == 0
