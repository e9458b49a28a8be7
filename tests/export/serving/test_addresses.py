"""A store is a file or a Redis database, and no message repeats a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.errors import UsageError
from lorkit.export.serving.addresses import RedisAddress, read_address

SECRET = "s3cr3t"


@pytest.mark.parametrize("place", ["s.db", "runs/s.db", Path("/tmp/s.db"), "redis.db", ":memory:", "redis"])
def test_a_path_is_a_file(place: Path | str) -> None:
    assert read_address(place) == Path(place)


@pytest.mark.parametrize(
    ("url", "wanted", "shown"),
    [
        ("redis://h", RedisAddress(host="h"), "redis://h:6379/0"),
        ("redis://127.0.0.1:7000/3", RedisAddress(host="127.0.0.1", port=7000, database=3), "redis://127.0.0.1:7000/3"),
        (f"redis://:{SECRET}@h/", RedisAddress(host="h", password=SECRET), "redis://h:6379/0"),
        ("redis://me:a%2Fb%40c@h", RedisAddress(host="h", user="me", password="a/b@c"), "redis://h:6379/0"),
        ("redis://[::1]:1/2", RedisAddress(host="::1", port=1, database=2), "redis://[::1]:1/2"),
        (
            "REDISS://h/1?ssl_cert_reqs=required",
            RedisAddress(host="h", database=1, tls=True, options={"ssl_cert_reqs": "required"}),
            "rediss://h:6379/1",
        ),
    ],
)
def test_a_url_is_a_database(url: str, wanted: RedisAddress, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDISCLI_AUTH", raising=False)
    found = read_address(url)
    assert found == wanted
    assert isinstance(found, RedisAddress)
    assert found.shown == shown
    assert SECRET not in repr(found)


def test_the_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISCLI_AUTH", SECRET)
    assert read_address("redis://h") == RedisAddress(host="h", password=SECRET)
    assert read_address("redis://:own@h") == RedisAddress(host="h", password="own")


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/1@h", f"redis://:{SECRET}#1@h", f"redis://:{SECRET}?@h", f"redis://:{SECRET}", "redis://",
        f"redis:/:{SECRET}@h", f"redis://:{SECRET}@h:port", f"redis://:{SECRET}@h:99999", f"redis://:{SECRET}@h/name",
        f"redis://:{SECRET}@h/0/1", f"redis://h?password={SECRET}", f"redis://h?ssl_keyfile={SECRET}",
        f"redis://[{SECRET}@h", f"rediss://h?ssl_{SECRET}", f"redis://:{SECRET}@h/٣",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    for place in (url, Path(url)) if SECRET in url else (url,):
        with pytest.raises(UsageError, match="a Redis URL that cannot be read; required: redis://") as raised:
            read_address(place)
        assert SECRET not in str(raised.value)


def test_another_kind_of_store_is_refused() -> None:
    with pytest.raises(UsageError, match="a store of the kind 'postgres'; required: a file, redis:// or rediss://"):
        read_address(f"postgres://me:{SECRET}@h/0")
