import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest
from file_operations import attempt, every_attempt

from lorkit.decompose.artifacts.drafts import is_abandoned
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey

pytestmark = pytest.mark.usefixtures("own_keys")


def test_digests_are_hmacs_of_the_purpose_and_the_data(tmp_path: Path) -> None:
    key = DirectoryKey(tmp_path, create=True)
    found = key.digest("case", b"data")
    secret = bytes.fromhex((tmp_path / KEY_FILE).read_text())
    assert found == hmac.new(secret, b"case\0data", hashlib.sha256).hexdigest()
    assert found == DirectoryKey(tmp_path).digest("case", b"data") != key.digest("native", b"data")
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600 or os.name == "nt"


def test_without_a_file_there_is_no_lasting_key(tmp_path: Path) -> None:
    assert not DirectoryKey(tmp_path).exists
    assert DirectoryKey(tmp_path).digest("case", b"data") != DirectoryKey(tmp_path / "b").digest("case", b"data")
    assert not list(tmp_path.iterdir())


def test_a_kill_leaves_a_whole_key_or_none(tmp_path: Path) -> None:
    def make() -> None:
        DirectoryKey(tmp_path, create=True).digest("case", b"data")

    def prepare() -> Path:
        for left in tmp_path.iterdir():
            left.unlink()
        return tmp_path

    for _, stopped in every_attempt(make, prepare):
        assert stopped.killed
        assert all(is_abandoned(left) for left in tmp_path.iterdir() if left.name != KEY_FILE)
        make()


def test_a_file_system_without_links_gets_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    found = DirectoryKey(tmp_path, create=True).digest("case", b"data")
    assert found == DirectoryKey(tmp_path).digest("case", b"data")
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_full_disk_is_an_error_that_names_the_key(tmp_path: Path) -> None:
    def write() -> int:
        try:
            DirectoryKey(tmp_path, create=True).digest("case", b"1")
        except OSError as error:
            return 0 if error.filename == str(tmp_path / KEY_FILE) else 1
        return 2

    whole = attempt(write, under=tmp_path)
    places = [at for at, one in enumerate(whole.operations) if one.kind in ("open", "write")]
    assert places
    for at in places:
        (tmp_path / KEY_FILE).unlink(missing_ok=True)
        assert attempt(write, under=tmp_path, at=at, how="full").code == 0
