"""Artifacts: files with digests, atomic directories, and the manifests that link them."""

from __future__ import annotations

from lorkit.decompose.artifacts.directories import staged_directory
from lorkit.decompose.artifacts.files import (
    SCHEMA_VERSION,
    SEAL,
    digest_bytes,
    digest_file,
    digest_json,
    digest_tensors,
    load_tensors,
    read_json,
    save_tensors,
    write_bytes,
    write_json,
    write_text,
)
from lorkit.decompose.artifacts.leftovers import DERIVED, sweep
from lorkit.decompose.artifacts.locks import exclusive
from lorkit.decompose.artifacts.manifest import (
    MANIFEST,
    Manifest,
    check_files,
    is_current,
    read_manifest,
    verify_chain,
    write_manifest,
)

__all__ = [
    "DERIVED",
    "MANIFEST",
    "SCHEMA_VERSION",
    "SEAL",
    "Manifest",
    "check_files",
    "digest_bytes",
    "digest_file",
    "digest_json",
    "digest_tensors",
    "exclusive",
    "is_current",
    "load_tensors",
    "read_json",
    "read_manifest",
    "save_tensors",
    "staged_directory",
    "sweep",
    "verify_chain",
    "write_bytes",
    "write_json",
    "write_manifest",
    "write_text",
]
