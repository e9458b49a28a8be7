"""The file of a stream: kept whole whatever happens to the process, shared by several, refused when it is another."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from streams import open_scorer, open_store, transactions

from lorkit.decompose.errors import ArtifactError, BusyError, StorageError


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("id,label\n" * 500)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE accounts (id INTEGER)")
    other.close()
    before = (tmp_path / "other.db").read_bytes()
    for name in ("text.db", "other.db"):
        with pytest.raises(ArtifactError, match=r"\.db is damaged, or no store of counters"):
            open_store(tmp_path / name)
    assert (tmp_path / "other.db").read_bytes() == before
    with pytest.raises(StorageError, match="cannot be written"):
        open_store(tmp_path / "nowhere" / "s.db")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM header",
        "DROP TABLE header",
        "UPDATE header SET content = '{}'",
        "UPDATE header SET content = replace(content, 'digest', 'other')",
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, statement: str) -> None:
    open_store(tmp_path / "s.db").close()
    with sqlite3.connect(tmp_path / "s.db") as connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(ArtifactError):
        open_store(tmp_path / "s.db")


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    scorer, _ = open_scorer(open_store(tmp_path / "s.db"))
    scorer.score(transactions(400))
    scorer.store.close()
    data = (tmp_path / "s.db").read_bytes()
    (tmp_path / "s.db").write_bytes(data[: len(data) // 2])
    with pytest.raises(ArtifactError, match="is damaged"):
        open_store(tmp_path / "s.db")


def test_a_store_that_is_held_is_refused_after_waiting(tmp_path: Path) -> None:
    store = open_store(tmp_path / "s.db")
    other, _ = open_scorer(open_store(tmp_path / "s.db", wait_s=0.05))

    def hold(ledger: object) -> None:
        with pytest.raises(BusyError, match=r"another process writes \S+; required: one that releases it"):
            other.score(transactions(1))

    store.transact(hold)
    other.score(transactions(1))
    assert len(store) == 1


def test_a_file_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "s.db", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # SQLite does not wait for it to change the mode of the file
    with pytest.raises(BusyError, match=r"another process writes \S+s\.db"):
        open_store(tmp_path / "s.db", wait_s=0.02)
    ending = threading.Timer(0.2, other.rollback)
    ending.start()
    assert not len(open_store(tmp_path / "s.db"))
    ending.join(timeout=60)
    other.close()
