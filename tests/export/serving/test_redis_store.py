"""A Redis server as a store: overtaken work runs again, a restart keeps all, and a server that forgets is refused."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis_servers import RedisServer
from small_graphs import keyed_graph
from stores import assert_same, content, lines_of
from streams import node_input, open_scorer, open_store, transactions

from lorkit.decompose.errors import ArtifactError, BusyError, StorageError
from lorkit.export.serving import redis_store
from lorkit.export.serving.counters import Ledger
from lorkit.export.serving.filling import fill
from lorkit.export.serving.stream import answer_lines


@pytest.fixture
def server(redis_server: RedisServer) -> RedisServer:
    """The server without entries."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server


def kept(store: Any) -> Any:
    """Return the sums of a key."""
    return store.transact(lambda ledger: ledger.counters([(0, "a")]))


def test_work_that_was_overtaken_runs_again_while_others_wait(server: RedisServer) -> None:
    store, other = open_store(server.url()), open_scorer(open_store(server.url(), wait_s=0.05))[0]
    rows = [{**row, "card": "a"} for row in transactions(3)]
    runs = []

    def add(ledger: Ledger) -> None:
        runs.append(ledger.counters([(0, "a")])[0, -1, -1])
        ledger.write_counters([(0, "a")], ledger.counters([(0, "a")]) + 1)
        if len(runs) == 1:
            other.score(rows[:1])
        else:
            with pytest.raises(BusyError, match="another process writes redis://"):
                other.score(rows[1:])

    store.transact(add)
    assert runs == [0, 1]
    assert kept(store)[0, -1, -1] == 2
    other.score(rows[1:])
    assert kept(store)[0, -1, -1] == 4


def test_a_process_that_was_killed_holds_nobody_up_for_long(server: RedisServer) -> None:
    scorer, _ = open_scorer(open_store(server.url()))
    with server.client() as client:
        client.set("lorkit:lock", "of another", px=300)
    assert len(scorer.score(transactions(2))) == 2


def test_overtaken_work_gives_up_after_waiting(server: RedisServer) -> None:
    store, other = open_store(server.url(), wait_s=0.2, lease_s=0.001), open_store(server.url())
    places = [(0, "a")]

    def add(ledger: Ledger) -> None:
        ledger.write_counters(places, ledger.counters(places) + 1)

    def overtaken(ledger: Ledger) -> None:
        other.transact(add)
        add(ledger)

    with pytest.raises(BusyError):
        store.transact(overtaken)


def test_a_server_that_is_killed_and_started_again_has_lost_nothing(tmp_path: Path) -> None:
    lines = [line.encode() for line in lines_of(60)]
    whole = list(answer_lines(open_scorer(open_store(tmp_path / "whole.db"))[0], lines, batch=1))
    with RedisServer(tmp_path, appendfsync="always") as server:
        scorer, _ = open_scorer(open_store(server.url()))
        answers: list[str] = []
        for sign in (signal.SIGKILL, signal.SIGTERM):
            some = answer_lines(scorer, lines[len(answers) :], batch=1)
            answers += [next(some) for _ in range(20)]
            server.kill(sign)
            with pytest.raises(StorageError, match=r"redis://127.0.0.1:\d+/0 cannot be reached"):
                next(some)
            server.start()
        assert [*answers, *answer_lines(scorer, lines[len(answers) :], batch=1)] == whole
        assert_same(content(server.url()), content(tmp_path / "whole.db"))


def test_a_server_that_forgot_is_refused(server: RedisServer) -> None:
    scorer, _ = open_scorer(open_store(server.url()))
    scorer.score(transactions(3))
    scorer.score(transactions(4)[3:])
    with server.client() as client:
        client.set("lorkit:version", 1)
        with pytest.raises(StorageError, match=r"has forgotten what it confirmed; required: .*appendonly yes"):
            scorer.score(transactions(1))
        client.flushall()
    with pytest.raises(StorageError, match="has forgotten"):
        scorer.score(transactions(1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"appendonly": "no"}, "keeps no append-only file: .*; required: a server with appendonly yes; set it"),
        ({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}, "drops entries .*; required: .*noeviction"),
    ],
)
def test_a_server_that_forgets_by_design_is_refused(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    with RedisServer(tmp_path, **settings) as server, pytest.raises(StorageError, match=said):
        open_store(server.url())


def test_a_server_without_memory_counts_nothing(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, server.client() as client:
        scorer, _ = open_scorer(open_store(server.url()))
        scorer.score(transactions(3))
        before = content(server.url())
        client.config_set("maxmemory", 1)
        with pytest.raises(StorageError, match=r"refuses a command .*memory"):
            scorer.score(transactions(9)[3:])
        client.config_set("maxmemory", 0)
        assert_same(content(server.url()), before)
        scorer.score(transactions(9)[3:])
        assert len(scorer.store) == 9


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("DEL", "lorkit:header"), "it has no header"),
        (("SET", "lorkit:header", "text"), "header cannot be read"),
        (("SET", "lorkit:version", "text"), "its version is no number"),
        (("SET", "lorkit:last", "text"), "its last time is no number"),
        (("SET", "lorkit:rows", "text"), "an entry of another type"),
        (("HSET", "lorkit:rows", "t0", "text"), "is damaged"),
        (("HSET", "lorkit:rows", "t0", b"12345678[1]\n"), "no row"),
        (("HSET", "lorkit:rows", "t0", b'12345678[["a", null], null, 7]\n'), "no row"),
        (("HSET", "lorkit:counters:0", "a", "text"), "another size"),
    ],
)
def test_a_damaged_store_is_refused(server: RedisServer, command: tuple[Any, ...], said: str) -> None:
    open_scorer(open_store(server.url()))[0].score(transactions(2))
    with server.client() as client:
        if command[0] == "SET":
            client.delete(command[1])
        client.execute_command(*command)
    with pytest.raises(ArtifactError, match=said):
        open_scorer(open_store(server.url()))[0].score([{**row, "card": "a"} for row in transactions(3)])


def test_other_entries_of_the_database_are_left_alone(server: RedisServer) -> None:
    with server.client() as client:
        client.set("session", "theirs")
        open_scorer(open_store(server.url()))[0].score(transactions(2))
        assert client.get("session") == b"theirs"
        assert all(key == b"session" or key.startswith(b"lorkit:") for key in client.scan_iter())
        assert client.get("lorkit:lock") is None


def test_a_large_store_is_filled_in_parts_or_not_at_all(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "_LARGE", 7)
    graph, visible = keyed_graph()
    nodes = node_input(relations=("user", "shop"), features=("a", "b", "c"), mean=(0.1,) * 3, std=(2.0,) * 3)
    whole = open_store(server.url(1), nodes)
    fill(whole, nodes, graph, visible)
    store = open_store(server.url(), nodes)

    def stop(ledger: Ledger) -> None:
        ledger.write_counters([(0, f"k{at}") for at in range(9)], np.ones((9, *store._layout.shape)))
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        store.transact(stop)
    assert not len(store)
    fill(store, nodes, graph, visible)
    with server.client() as client, server.client(1) as other:
        for name in client.keys("lorkit:*"):
            kind = client.type(name)
            assert other.type(name) == kind, name
            read = "hgetall" if kind == b"hash" else "get"
            assert getattr(client, read)(name) == getattr(other, read)(name), name
        assert not client.keys("*staged*")
