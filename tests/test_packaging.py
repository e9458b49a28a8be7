"""What is installed: every package is listed, and the wheel holds lorkit and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "decompose", "export", "profiles")
HOME = "lorkit"  # the package that the four rooms belong to; it lies in its own folder
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    """Setuptools maps packages by hand, so a forgotten one would be missing from the wheel only."""
    found = {
        "lorkit." + ".".join(path.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for path in (ROOT / room).rglob("__init__.py")
    }
    assert {HOME, *found} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_room_is_typed() -> None:
    for room in (HOME, *ROOMS):
        assert (ROOT / room / "py.typed").is_file(), f"{room} has no py.typed: type checkers would ignore it"


def test_every_data_file_is_matched() -> None:
    """A template or profile that no pattern names works from the checkout and is absent from the wheel."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    packages = PROJECT["tool"]["setuptools"]["packages"]
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                package = "lorkit." + ".".join(path.parent.relative_to(ROOT).parts)
                known = [*patterns["*"], *patterns.get(package, ())]
                assert any(path.match(pattern) for pattern in known), path.relative_to(ROOT)
                assert package in packages, f"{path.relative_to(ROOT)} lies deeper than package-data reaches"


def test_constraints_pin_every_requirement() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = PROJECT["project"]["optional-dependencies"]
    own = ("dev", "docs", "peft", "balancers", "timm", "weights-demo", "dicom")
    required = [*PROJECT["project"]["dependencies"], *(one for name in own for one in extras[name])]
    for requirement in required:
        if requirement.startswith("lorkit["):  # its own extras, listed above
            continue
        name = re.split(r"[<>=\[]", requirement)[0].strip().lower().replace("_", "-")
        assert name in pinned, requirement
    assert "+" not in pinned["torch"], "a local version would not resolve outside"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in a wheel built from a copy of the checkout, without network."""
    pytest.importorskip("setuptools", minversion="77", reason="building the wheel here needs setuptools >= 77")
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(folder), "."]
    subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True, timeout=300)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return archive.namelist()


def test_the_wheel_holds_lorkit_only(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"lorkit"}
    for name in (
        "lorkit/profiles/h200.yaml",
        "lorkit/export/reporting/pages/report.html.jinja",
        "lorkit/export/gating/gate.md.jinja",
        "lorkit/export/building/readme.md.jinja",
        "lorkit/__init__.py",
        "lorkit/__main__.py",
        "lorkit/cli/py.typed",
    ):
        assert name in wheel
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_wheel_holds_every_module(wheel: list[str]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    missing = {f"lorkit/{name}" for name in tracked.stdout.split() if (ROOT / name).is_file()} - set(wheel)
    assert not missing
