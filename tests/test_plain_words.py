"""What people read has standard words: no figure of speech that was replaced once comes back."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer.main

from lorkit.cli.commands import list_commands
from lorkit.cli.main import app
from lorkit.cli.reference import reference

ROOT = Path(__file__).parent.parent
BANNED = {
    r"(?<!parts: )anew": "again, or new",
    r"stands? (for|nowhere|beside|twice|against)|stood (in|at)": "means, is, is beside",
    r"nobody": "no one; say what is missing",
    r"at hand": "available, or measured",
    r"learnt": "trained on, learned",
    r"knows (nothing|little|no)": "say what was not used or measured",
    r"luck": "randomness",
    r"flak(e|es|y)": "changes between runs",
    r"held against": "compared with",
    r"l(ies|ie|ay) (apart|beside|in|here|there)": "is in, is beside",
    r"(one|two|three|once|values?|times?|lines?) an? (region|file|class|label|case|column|channel|patient|image|sample|"
    r"row|method|side|seed)": "per",
    r"tells? (nothing|on|of)|told (of|about)": "states, reports",
    r"all the same": "nevertheless",
}  # fmt: skip
PATTERN = re.compile("|".join(rf"(?P<w{index}>\b(?:{words})\b)" for index, words in enumerate(BANNED)), re.I)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
SOURCES = sorted(path for room in ("cli", "decompose", "export", "profiles") for path in (ROOT / room).rglob("*.py"))
TEMPLATES = sorted(path for room in ("cli", "decompose", "export") for path in (ROOT / room).rglob("*.jinja"))


def found_in(text: str) -> list[str]:
    """Return each banned word with its line and what to write; code is not prose."""
    prose = re.sub(r"`[^`\n]*`|^```.*?^```", "", text, flags=re.M | re.S)
    said = []
    for match in PATTERN.finditer(prose):
        line = prose[prose.rfind("\n", 0, match.start()) + 1 :].split("\n", 1)[0]
        index = int(str(match.lastgroup)[1:])
        said.append(f"'{match[0]}' (write: {list(BANNED.values())[index]}) in: {line.strip()[:160]}")
    return said


@pytest.mark.parametrize("path", [*PAGES, *TEMPLATES], ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_and_templates_have_standard_words(path: Path) -> None:
    assert not found_in(path.read_text(encoding="utf-8"))


def test_messages_and_report_sentences_have_standard_words() -> None:
    """Text that code writes: every string but docstrings and names of settings."""
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                text = "" if id(node) in docstrings else node.value
                found += [f"{path.relative_to(ROOT)}:{node.lineno}: {said}" for said in found_in(text)]
    assert not found


def test_the_help_has_standard_words() -> None:
    commands = dict(list_commands(typer.main.get_command(app)))
    texts = [command.help or "" for command in commands.values()]
    texts += [getattr(parameter, "help", None) or "" for command in commands.values() for parameter in command.params]
    assert len(texts) > 100
    assert not found_in("\n".join([*texts, reference()]))


def test_a_banned_word_is_found_and_code_is_not_prose() -> None:
    assert found_in("Draw it anew.")[0].startswith("'anew' (write: again, or new)")
    assert found_in("| a | One a region |")
    assert not found_in("Set `parts: anew`.\n```yaml\nparts: anew\n```\nIt was renewed.")
