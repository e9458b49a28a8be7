"""A connection to a database of a Redis server, whose errors are one line without user and password.

The package redis comes with the extra `redis` and is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lorkit.decompose.errors import MissingRuntimeError, StorageError, UsageError, first_line
from lorkit.export.serving.addresses import RedisAddress
from lorkit.export.serving.counters import damaged

_CONNECT_S, _ANSWER_S = 5.0, 30.0


class RedisConnection:
    """A client, which connects when it is used.

    Args:
        address: The database.

    Attributes:
        client: Of the package redis.
        where: The address as messages show it.

    Raises:
        MissingRuntimeError: The package is missing.
    """

    def __init__(self, address: RedisAddress) -> None:
        self.where = address.shown
        self._redis, self._scripts = _load_redis(), dict[str, Any]()
        # no command is sent twice by itself: one whose answer was lost may have been run
        retry = self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0)
        secure = {"ssl": True, **address.options} if address.tls else {}
        self.client: Any = self._redis.Redis(
            host=address.host,
            port=address.port,
            db=address.database,
            username=address.user,
            password=address.password,
            protocol=2,
            retry=retry,
            socket_timeout=_ANSWER_S,
            socket_connect_timeout=_CONNECT_S,
            **secure,
        )

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """Run a Lua script on the server, which keeps it; its text is sent when it is not known there."""
        if script not in self._scripts:
            self._scripts[script] = self.client.register_script(script)
        return self._scripts[script](keys=keys, args=arguments)

    def check_memory(self) -> None:
        """Raise StorageError for a server that forgets by design."""
        if not self.client.info("persistence").get("aof_enabled"):
            raise StorageError(
                f"{self.where} keeps no append-only file: it forgets what it counted when it restarts",
                required="a server with appendonly yes",
                fix="set it in redis.conf, or run CONFIG SET appendonly yes",
            )
        memory = self.client.info("memory")
        policy = str(memory.get("maxmemory_policy"))
        if memory.get("maxmemory") and policy.startswith("allkeys"):
            raise StorageError(
                f"{self.where} drops entries when its memory is full (maxmemory-policy {policy})",
                required="maxmemory-policy noeviction",
                fix="set it in redis.conf",
            )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what the client reports as an error of one line."""
        known = self._redis.exceptions
        try:
            yield
        except (known.AuthenticationError, known.AuthenticationWrongNumberOfArgsError):
            raise UsageError(
                f"{self.where} refuses the user or the password",
                required="those of the server, as redis://USER:PASSWORD@HOST, or the password in REDISCLI_AUTH",
                fix="correct them",
            ) from None
        except (known.ConnectionError, known.TimeoutError) as error:
            raise StorageError(
                f"{self.where} cannot be reached ({first_line(error)})",
                required="a Redis server that answers",
                fix="start it; lines that got no answer may be sent again",
            ) from None
        except known.RedisError as error:
            if "WRONGTYPE" in str(error):
                raise damaged(self.where, "an entry of another type") from None
            raise StorageError(
                f"{self.where} refuses a command ({first_line(error)})",
                required="a server with free memory that this user may write to",
                fix="check its memory, and the rights of the user",
            ) from None


def _load_redis() -> Any:
    try:
        import redis
    except ImportError:
        raise MissingRuntimeError(
            "a store on a Redis server needs the package redis, which is not installed",
            required="the extra 'redis'",
            fix='pip install "lorkit[redis]"',
        ) from None
    return redis
