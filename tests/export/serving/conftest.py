"""Stores of both kinds: each test that takes `places` runs with files and with a Redis server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_servers import RedisServer
from stores import Places


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests of a process share, each with databases of its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def places(request: pytest.FixtureRequest, tmp_path: Path) -> Places:
    """Addresses of new stores."""
    return Places(tmp_path, request.getfixturevalue("redis_server") if request.param == "redis" else None)
