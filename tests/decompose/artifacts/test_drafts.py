import errno
import os
import re
from pathlib import Path

import pytest
from file_operations import every_attempt

from lorkit.decompose.artifacts import write_bytes
from lorkit.decompose.artifacts.drafts import host, is_abandoned, naming, native_path, open_draft
from lorkit.decompose.errors import UsageError


def test_a_kill_at_any_operation_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path, found = tmp_path / "a.json", set()

    def prepare() -> Path:
        for left in tmp_path.iterdir():
            left.unlink()
        path.write_bytes(b"old")
        return tmp_path

    for operation, stopped in every_attempt(lambda: write_bytes(path, b"the new one"), prepare):
        assert stopped.killed
        found.add(operation.kind)
        assert path.read_bytes() == b"old"
        assert all(is_abandoned(left) for left in tmp_path.iterdir() if left != path)
    assert found == {"open", "write", "rename"}


def test_a_full_disk_is_named_with_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def prepare() -> Path:
        path.write_bytes(b"old")
        return tmp_path

    attempts = list(every_attempt(lambda: write_bytes(path, b"the new one"), prepare, how="full"))
    assert [operation.kind for operation, _ in attempts] == ["open", "write"]
    for _, stopped in attempts:
        assert f"OSError: [Errno 28] No space left on device: '{path}'" in stopped.error
        assert [left.name for left in tmp_path.iterdir()] == ["a.json"]
        assert path.read_bytes() == b"old"


def test_errors_keep_their_number_and_get_the_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=re.escape(str(tmp_path))) as caught, naming(tmp_path):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert caught.value.errno == errno.EDQUOT
    with pytest.raises(OSError, match=r"^of a library$"), naming(tmp_path):
        raise OSError("of a library")
    with pytest.raises(FileNotFoundError, match="another"), naming(tmp_path):
        (tmp_path / "another").read_bytes()


def test_names_that_native_code_cannot_take_are_refused() -> None:
    assert native_path(Path("a/\u00e4")) == "a/\u00e4"
    with pytest.raises(UsageError, match=r"^a/b\\xff has a name that is not UTF-8; required: names in UTF-8"):
        native_path(Path(os.fsdecode(b"a/b\xff")))


def test_drafts_of_living_processes_are_not_abandoned(tmp_path: Path) -> None:
    with open_draft(tmp_path / "a") as stream:
        stream.write(b"half")
        (draft,) = tmp_path.iterdir()
        assert not is_abandoned(draft)
    assert (tmp_path / "a").read_bytes() == b"half"


def test_the_next_file_removes_what_a_killed_process_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / f".b.draft-{host()}-{2**22 + 1}-abc").touch()  # no process has so large a number
    (tmp_path / f".c.draft-{host()}-{os.getpid()}-abc").touch()
    write_bytes(tmp_path / "a", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".c.draft-{host()}-{os.getpid()}-abc", "a"]


@pytest.mark.parametrize(("of", "age_s", "expected"), [("other-host", 10, False), ("other-host", 90_000, True)])
def test_drafts_of_other_hosts_are_kept_for_a_day(tmp_path: Path, of: str, age_s: float, expected: bool) -> None:
    draft = tmp_path / f".a.draft-{of}-1-abc"
    draft.touch()
    os.utime(draft, (draft.stat().st_mtime - age_s,) * 2)
    assert is_abandoned(draft) is expected
    assert not is_abandoned(tmp_path / f".a.draft-{host()}-{os.getpid()}-gone")
    assert not is_abandoned(tmp_path / "a.json")
