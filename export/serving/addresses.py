"""Where a store is: a file, or a database of a Redis server, whose password no message shows."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from lorkit.decompose.errors import UsageError

_SCHEMES = ("redis", "rediss")
_PORT = 6379


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """A database of a Redis server.

    Attributes:
        host: Name or IP address.
        port: TCP port.
        database: Number of the database.
        tls: Whether the connection is encrypted.
        user: None for the default one.
        password: None for none.
        options: Of the encryption (`ssl_ca_certs` and others of redis-py).
    """

    host: str
    port: int = _PORT
    database: int = 0
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def shown(self) -> str:
        """The address without user and password, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{host}:{self.port}/{self.database}"


def read_address(place: Path | str) -> Path | RedisAddress:
    """Return the file or the Redis database that a text names.

    A Redis address without a password gets that of the environment variable REDISCLI_AUTH, if there is one.

    Raises:
        UsageError: It is the URL of something else, or none. The message does not repeat it, because of its password.
    """
    text = str(place)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", text)
    if scheme is None or (scheme[1].lower() not in _SCHEMES and not text.startswith(f"{scheme[0]}/")):
        return Path(place)
    if scheme[1].lower() not in _SCHEMES:
        raise UsageError(
            f"a store of the kind '{scheme[1][:20]}'", required="a file, redis:// or rediss://", fix="correct --store"
        )
    try:
        return _parsed(urlsplit(text))
    except ValueError:  # its message may have a part of the password
        raise UsageError(
            "a Redis URL that cannot be read",
            required="redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]",
            fix="correct --store; write signs such as / # @ of a password as %2F %23 %40",
        ) from None


def _parsed(url: SplitResult) -> RedisAddress:
    database = url.path.strip("/")
    options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=True)) if url.query else {}
    tls = url.scheme == "rediss"
    foreign = any(not name.startswith("ssl_") for name in options) or (options and not tls)
    if not url.hostname or url.fragment or foreign or not re.fullmatch("[0-9]*", database):
        raise ValueError
    return RedisAddress(
        host=url.hostname,
        port=_PORT if url.port is None else url.port,
        database=int(database or 0),
        tls=tls,
        user=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else os.environ.get("REDISCLI_AUTH"),
        options=options,
    )
