"""Pipes, sockets and devices in the place of a file are refused at once, by name: to read them might never end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from file_kinds import KINDS, FileKind

from lorkit.decompose.config import yaml_files
from lorkit.decompose.errors import LorkitError, UsageError
from lorkit.profiles import ProfileError
from lorkit.profiles import load as load_profile

_LONGEST_S = 5
OF_A_FOLDER = {"dicom-series"}
"""Kinds that take the files of a folder, and leave out what is none."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """End a read that waits; a test never asserts on time."""

    def end(*_: object) -> None:
        pytest.fail("it still waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


SPECIAL: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", SPECIAL)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_it_is_refused_by_name(kind: FileKind, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kind.write(tmp_path)
    path = tmp_path / kind.file
    path.unlink()
    SPECIAL[what](path)
    if (kind.name, what) == ("yaml", "pipe"):
        monkeypatch.setattr(yaml_files, "PIPE_SECONDS", 0.1)
        with pytest.raises(UsageError, match="is a pipe whose text did not end within"):
            kind.read(path)
        return
    if kind.name in OF_A_FOLDER:
        kind.read(path)
        return
    with pytest.raises(LorkitError) as found:
        kind.read(path)
    assert found.value.exit_code in (2, 4)
    assert f"{path} is a {what}" in str(found.value)


@pytest.mark.parametrize("what", SPECIAL)
def test_a_profile_is_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SPECIAL[what](tmp_path / "p.yaml")
    with pytest.raises(ProfileError, match=r"p\.yaml is no file"):
        load_profile(tmp_path / "p.yaml")
