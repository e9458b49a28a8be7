"""Files without a name: whole, and gone with the process that wrote them."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.errors import StorageError
from lorkit.export.prediction.writers.spool import Spool


class _Full(io.BytesIO):
    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=64)), max_size=8))
def test_the_last_content_of_each_name_is_kept(written: list[tuple[str, bytes]]) -> None:
    with Spool() as spool:
        for name, content in written:
            spool.add(name, content)
        assert [(name, spool.read(name)) for name in spool] == sorted(dict(written).items())


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_nothing_is_left_of_a_killed_process(tmp_path: Path) -> None:
    script = (
        "import os, signal; from lorkit.export.prediction.writers.spool import Spool; spool = Spool();"
        "spool.add('mask.nii.gz', bytes(4096)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_names_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    with Spool() as spool:
        spool._stream.close()
        monkeypatch.setattr(spool, "_stream", _Full())
        with pytest.raises(StorageError, match=r"no room for 3 bytes of masks in .*TMPDIR"):
            spool.add("a", b"abc")
