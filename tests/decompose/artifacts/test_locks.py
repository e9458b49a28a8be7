from pathlib import Path

import pytest

from lorkit.decompose.artifacts import exclusive
from lorkit.decompose.errors import BusyError


def test_one_writer_at_a_time_and_no_file_afterwards(tmp_path: Path) -> None:
    with exclusive(tmp_path / "x"):
        with pytest.raises(BusyError, match="another process is writing"), exclusive(tmp_path / "x"):
            pass
        with exclusive(tmp_path / "y"):
            pass
    with exclusive(tmp_path / "x"):
        pass
    assert not list(tmp_path.iterdir())
