"""Man pages: every command and option is there, and roff reads them without a warning."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import typer.main

from lorkit.cli.commands import list_commands
from lorkit.cli.main import app
from lorkit.cli.manual import man_pages

ROOT = typer.main.get_command(app)
PAGES = man_pages(ROOT)


def plain(text: str) -> str:
    return text.replace("\\-", "-")


def test_every_command_has_a_page_with_its_options() -> None:
    commands = dict(list_commands(ROOT))
    assert set(PAGES) == {"decompose.1", *(f"{path.replace(' ', '-')}.1" for path in commands)}
    for path, command in commands.items():
        page = plain(PAGES[f"{path.replace(' ', '-')}.1"])
        assert f".B {path}\n" in page
        for option in (name for one in command.params for name in one.opts if name.startswith("--")):
            assert option in page, (path, option)
        assert path.removeprefix("decompose ") in plain(PAGES["decompose.1"])


def test_no_line_of_text_is_a_command_of_roff() -> None:
    known = {".TH", ".SH", ".B", ".TP", ".PP"}
    for page in PAGES.values():
        lines = [line for line in page.splitlines() if line.startswith((".", "'"))]
        assert {line.split()[0] for line in lines} <= known


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_roff_reads_them_without_a_warning() -> None:
    for name, text in PAGES.items():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tascii", "-P-c"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stderr == "", name
        assert "INCONCLUSIVE of the gate" in done.stdout
