"""Engines that are compiled code: loading one runs what its author wrote, with the rights of the user.

A package that this machine built has a record beside it: a digest that is keyed by the key file of the directory of
runs, which is in no artifact, by the number of that file on its disk, and by the identity of this machine. So a key
that came with the package counts for nothing, and neither does one that others can read. Packages without a record
need the consent of the user. The record proves where a file was built; it does not make a file harmless.
"""

from __future__ import annotations

import hmac
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from lorkit.decompose.artifacts import digest_file, read_json, write_json
from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.errors import ArtifactError
from lorkit.export.targets.base import Target

RECORD = "native.json"
OPTION = "--trust-native"
RUNS = Path("runs")
_PURPOSE = "native code"
_IDENTITIES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@contextmanager
def trust_native(allowed: bool = True) -> Iterator[None]:
    """Within the `with`, load compiled engines of other machines too, which runs the code of their authors."""
    before = _trusted.set(allowed)
    try:
        yield
    finally:
        _trusted.reset(before)


def native_trusted() -> bool:
    """Return whether the user trusts the authors of compiled engines."""
    return _trusted.get()


def record_build(target: Target, directory: Path, runs: Path | None) -> None:
    """Write the record beside a package that was compiled just now; nothing for targets without native code.

    Args:
        target: What built it.
        directory: Where it was built.
        runs: The directory of runs, whose key is used; made if it has none. `runs` in the current directory by default.
    """
    if not (code := target.code_in(directory)):
        return
    files = {name: digest_file(directory / name) for name in code}
    key = DirectoryKey(runs or RUNS, create=True)
    write_json(directory / RECORD, {"schema_version": 1, "kind": "native", "built": _record(key, files)})


def require_trusted(target: Target, directory: Path, files: Mapping[str, str]) -> None:
    """Refuse compiled code that this machine did not build, unless the user trusts its author.

    Args:
        target: The target of the engine.
        directory: The export.
        files: SHA-256 of its files by name, checked.

    Raises:
        ArtifactError: It has no record, or that of another machine or file.
    """
    if not (code := target.code_in(directory)) or native_trusted() or _built_here(code, directory, files):
        return
    raise ArtifactError(
        f"{directory / code[0]} is compiled code, and this machine did not build it: loading it would run "
        "whatever its author wrote",
        required=f"an engine that this machine built, or {OPTION}",
        fix=f"export it here with `decompose export --target {target.name} --force`, or trust its author",
    )


def _built_here(code: tuple[str, ...], directory: Path, files: Mapping[str, str]) -> bool:
    if not (directory / RECORD).is_file() or any(name not in files for name in code):
        return False
    built = read_json(directory / RECORD).get("built")
    if not isinstance(built, str):
        return False
    wanted = {name: files[name] for name in code}
    keys = [DirectoryKey(home) for home in (*directory.resolve().parents, RUNS) if _is_own(home / KEY_FILE)]
    return any(hmac.compare_digest(_record(key, wanted).encode(), built.encode()) for key in keys)


def _is_own(path: Path) -> bool:
    """Tell whether a key file is there and secret: another user could have put one into a directory above a package."""
    try:
        found = path.stat()
    except OSError:
        return False
    own = not hasattr(os, "geteuid") or (found.st_uid == os.geteuid() and not found.st_mode & 0o077)
    return own and stat.S_ISREG(found.st_mode)


def _record(key: DirectoryKey, files: Mapping[str, str]) -> str:
    name = key.name  # makes the file if there is none
    # a key that is unpacked or copied with a package gets another number on the disk
    used = [name, key.path.stat().st_ino]
    text = json.dumps({"machine": _machine(), "key": used, "files": files}, sort_keys=True)
    return key.digest(_PURPOSE, text.encode())


def _machine() -> str:
    """Return what tells this machine from others: a directory of runs, with its key, may come from another one."""
    for path in _IDENTITIES:
        try:
            if text := path.read_text(encoding="ascii").strip():
                return text
        except (OSError, ValueError):
            continue
    return f"{uuid.getnode():012x}"
