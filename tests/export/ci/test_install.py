"""`install.sh` installs one file by its digest, and ends before pip if address or digest is not filled in."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

DIGEST = "0" * 64


def write_wheel(directory: Path) -> Path:
    """Write a wheel named as lorkit's, with one module."""
    path, info = directory / "lorkit-0.1.0-py3-none-any.whl", "lorkit-0.1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("installed_by_digest.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: lorkit\nVersion: 0.1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def install(job: Any, url: str, digest: str) -> Any:
    """Run the script with a pip that installs into `job.path / "site"` and asks no index."""
    options = f'--target "{job.path}/site" --no-index --no-deps --disable-pip-version-check'
    job.install("python", f'#!/bin/sh\nexec "{sys.executable}" "$@" {options}\n')
    return job.run("install.sh", LORKIT_URL=url, LORKIT_SHA256=digest)


@pytest.mark.parametrize(
    ("url", "digest", "says"),
    [
        ("", "", "LORKIT_URL is ''; required: the https:// or file:// address of a wheel"),
        ("lorkit", DIGEST, "LORKIT_URL is 'lorkit'"),
        ("http://host/lorkit-0.1.0-py3-none-any.whl", DIGEST, "LORKIT_URL is 'http:"),
        ("https://host/lorkit-0.1.0-py3-none-any.whl", "", "LORKIT_SHA256 is ''; required: 64 hexadecimal digits"),
        ("https://host/lorkit-0.1.0-py3-none-any.whl", "FILL_IN", "LORKIT_SHA256 is 'FILL_IN'"),
    ],
)
def test_what_is_not_filled_in_ends_the_job_before_pip(job: Any, url: str, digest: str, says: str) -> None:
    job.install("python", '#!/bin/sh\ntouch "$REMEMBERED/python"\n')
    done = job.run("install.sh", LORKIT_URL=url, LORKIT_SHA256=digest)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert not (job.remembered / "python").exists()


def test_the_wheel_of_the_digest_is_installed_and_another_is_not(job: Any) -> None:
    wheel = write_wheel(job.path)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    refused = install(job, wheel.as_uri(), DIGEST)
    assert refused.returncode == 6
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (job.path / "site").exists()
    done = install(job, wheel.as_uri(), digest)
    assert done.returncode == 0, done.stderr
    assert (job.path / "site" / "installed_by_digest.py").is_file()
