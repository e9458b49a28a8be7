"""A command ends in time after a signal, whatever native code its main thread is in, and forks keep out of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

NATIVE = """
import hashlib, os, sys, threading, time
from lorkit.cli import ending, main
from lorkit.decompose.errors import ArtifactError, end_process

def verb(words):
    if "--limit" in words:
        late = ArtifactError("the network did not answer", required="an answer", fix="use another")
        threading.Timer(0.2, end_process, [late]).start()
    if "--fork" in words:
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), 2)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    print("ready", file=sys.stderr, flush=True)
    try:
        if "--unwinds" in words:
            time.sleep(60)
        native()
    finally:
        if "--slow" in words:
            native()
    return 0

def native():
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)  # minutes; lets other threads run, as engines do

main._execute = verb
if "--slow" in sys.argv:
    ending.UNWINDING_S = 0.5
main.main()
"""


def started(*words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", NATIVE, *words], stdout=pipe, stderr=pipe, text=True)
    if "--limit" not in words:
        assert child.stderr is not None
        assert child.stderr.readline() == "ready\n"
        time.sleep(0.2)  # until it is in native code
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_command_in_native_code(number: signal.Signals) -> None:
    child = started("--json")
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err.startswith("error: interrupted; the next command removes what was incomplete; run it again")
    document = json.loads(out)
    assert (document["kind"], document["exit_code"]) == ("error", 130)


def test_a_command_that_python_can_interrupt_removes_its_drafts_and_says_so() -> None:
    child = started("--unwinds")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert err.startswith("error: interrupted; no partial files were kept; ")


def test_a_removal_of_drafts_that_does_not_end_is_left() -> None:
    child = started("--unwinds", "--slow")
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "the next command removes what was incomplete" in err


def test_a_limit_ends_a_command_in_native_code() -> None:
    child = started("--limit", "--json")
    out, err = child.communicate(timeout=30)
    assert child.returncode == 4
    assert "error: the network did not answer; required: an answer; use another\n" in err
    assert json.loads(out)["exit_code"] == 4


def test_a_signal_of_a_forked_child_is_its_own() -> None:
    child = started("--fork", "--unwinds")
    time.sleep(1.0)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=30)
    assert child.returncode == 130


def test_a_stream_that_takes_no_report_does_not_hold_it_up(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", NATIVE], stdout=subprocess.DEVNULL, stderr=writing) as child:
        assert os.read(reading, 64) == b"ready\n"
        time.sleep(0.2)
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writing, True)
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
