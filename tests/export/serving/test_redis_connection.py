"""What can go wrong with a Redis server is one line without its password."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis_servers import RedisServer
from streams import open_scorer, open_store, transactions

from lorkit.decompose.errors import LorkitError, MissingRuntimeError, StorageError, UsageError

SECRET = "s3cr3t"


def refused(url: str, kind: type[LorkitError]) -> str:
    """Return the message of the error that opening a store raises."""
    with pytest.raises(kind) as raised:
        open_store(url)
    text = str(raised.value)
    assert SECRET not in text
    assert "\n" not in text
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    return text


def test_a_password_opens_the_store_and_a_wrong_one_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDISCLI_AUTH", raising=False)
    with RedisServer(tmp_path, requirepass=SECRET) as server:
        open_scorer(open_store(server.url(secret=f":{SECRET}@")))[0].score(transactions(1))
        for given in ("", f":{SECRET}1@", f"me:{SECRET}@"):
            text = refused(server.url(secret=given), UsageError)
            assert f"redis://127.0.0.1:{server.port}/0 refuses the user or the password; required: " in text
        monkeypatch.setenv("REDISCLI_AUTH", SECRET)
        assert len(open_store(server.url())) == 1


def test_a_password_that_the_server_does_not_have_is_refused(redis_server: RedisServer) -> None:
    assert "refuses the user or the password" in refused(redis_server.url(secret=f":{SECRET}@"), UsageError)


def test_a_user_without_rights_is_refused(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server, server.client() as client:
        client.execute_command("ACL", "SETUSER", "me", "on", f">{SECRET}", "~*", "+@read", "+info", "+select")
        assert "refuses a command" in refused(server.url(secret=f"me:{SECRET}@"), StorageError)


def test_a_database_that_the_server_does_not_have_is_refused(redis_server: RedisServer) -> None:
    text = refused(redis_server.url(99), StorageError)
    assert f"redis://127.0.0.1:{redis_server.port}/99" in text


def test_a_server_that_does_not_answer_is_named() -> None:
    pytest.importorskip("redis", reason="the package redis is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = refused(f"redis://:{SECRET}@127.0.0.1:{port}/0", StorageError)
    assert f"redis://127.0.0.1:{port}/0 cannot be reached" in text
    assert "required: a Redis server that answers" in text


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    assert 'pip install "lorkit[redis]"' in refused(f"redis://:{SECRET}@h", MissingRuntimeError)


def test_a_connection_may_be_encrypted(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", str(key),
         "-out", str(certificate), "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"tls-port": str(port), "tls-cert-file": str(certificate), "tls-key-file": str(key)}
    with RedisServer(tmp_path, **settings, **{"tls-auth-clients": "no"}) as server:
        url = f"rediss://127.0.0.1:{port}/0"
        open_scorer(open_store(f"{url}?ssl_ca_certs={certificate}"))[0].score(transactions(1))
        assert len(open_store(server.url())) == 1
        assert "cannot be reached" in refused(url, StorageError)  # nobody vouches for its certificate
