"""Keyed hashes of patients: stable with a key file, useless without it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lorkit.decompose.artifacts.keys import KEY_FILE
from lorkit.decompose.data.samples.pseudonyms import Pseudonyms
from lorkit.decompose.errors import ArtifactError

pytestmark = pytest.mark.usefixtures("own_keys")


def created(runs: Path) -> str:
    return Pseudonyms(runs, create=True).pseudonym("P1")


def test_a_directory_of_runs_has_one_key(tmp_path: Path) -> None:
    first, again = Pseudonyms(tmp_path / "runs", create=True), Pseudonyms(tmp_path / "runs")
    assert again.warnings
    assert first.pseudonym("P1") == again.pseudonym("P1") == created(tmp_path / "runs") != first.pseudonym("P2")
    assert "P1" not in first.pseudonym("P1")
    assert created(tmp_path / "other") != first.pseudonym("P1")
    assert not first.warnings
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [KEY_FILE]


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
def test_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    created(tmp_path)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_without_a_key_file_hashes_hold_for_one_process(tmp_path: Path) -> None:
    one, again, other = Pseudonyms(tmp_path), Pseudonyms(tmp_path), Pseudonyms(tmp_path / "other")
    # the readers of labelled and of unlabelled images must find the same patients
    assert one.pseudonym("P1") == again.pseudonym("P1") != other.pseudonym("P1")
    script = "import sys; from lorkit.decompose.data.samples.pseudonyms import *; "
    script += "print(Pseudonyms(Path(sys.argv[1])).pseudonym('P1'))"
    found = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True, timeout=60
    )
    assert len(found.stdout.strip()) == len(one.pseudonym("P1"))
    assert found.stdout.strip() != one.pseudonym("P1")
    assert one.warnings
    assert not list(tmp_path.iterdir())


def test_many_at_once_agree_on_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: created(tmp_path), range(32)))
    assert len(found) == 1


@pytest.mark.parametrize("content", [b"", b"zz", b"ab" * 31, "\u00e4".encode()])
def test_a_damaged_key_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)
    for create in (True, False):
        with pytest.raises(ArtifactError, match="no key of patients"):
            Pseudonyms(tmp_path, create=create).pseudonym("P1")
    assert (tmp_path / KEY_FILE).read_bytes() == content
