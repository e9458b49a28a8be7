"""What a person reads about a graph is about nodes and entities, in every command, card and page."""

from __future__ import annotations

import html
import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorkit.cli.main import run_command_line

OF_IMAGES = re.compile(r"\b(patients?|images?|pictures?|pixels?|volumes?|phantoms?|diagnos\w+)\b(?!:)", re.IGNORECASE)
CONFIG = """
name: payments
method: ragformer
regions: {payments: {data: "phantom:payments"}}
split: {by: entity}
student: {backbone: 'ragformer:width=8,feedforward=8,layers=1,heads=2'}
train: {epochs: 1, batch_size: 512}
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What each command prints, and every page that they write, as text."""
    home, before = tmp_path_factory.mktemp("words"), Path.cwd()
    (home / "decompose.yaml").write_text(CONFIG, encoding="utf-8")
    os.chdir(home)
    capture = pytest.MonkeyPatch()
    try:
        said: dict[str, str] = {}
        baseline = "runs/payments-ragformer-*/exports/student/payments/onnx-cpu-generic-fp32"
        for verb in ("data", "train --dry-run", "train", "extract --region all",
                     "export --target onnx --profile cpu-generic", "evaluate", "verify",
                     "bench --max-seconds 0.1", "gate --max-seconds 0.1 --baseline BASELINE", "report"):  # fmt: skip
            words = [str(next(home.glob(baseline))) if word == "BASELINE" else word for word in verb.split()]
            said[verb] = spoken(words, capture)
        for page in sorted(home.glob("runs/*/**/*")):
            if page.suffix in (".md", ".html"):
                said[str(page.relative_to(home))] = visible(page)
        yield said
    finally:
        capture.undo()
        os.chdir(before)


def spoken(words: list[str], patched: pytest.MonkeyPatch) -> str:
    text = io.StringIO()
    with patched.context() as here:
        here.setattr(sys, "stdout", text)
        here.setattr(sys, "stderr", text)
        assert run_command_line(words) in (0, 3), text.getvalue()
    return text.getvalue()


def visible(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".html":
        text = re.sub(r"<(style|script)>.*?</\1>", " ", text, flags=re.DOTALL)
        text = html.unescape(re.sub(r"<[^>]*>", " ", text))
    return text


def test_nothing_is_about_images(told: dict[str, str]) -> None:
    assert len(told) == 10 + 5  # cards of the expert and two exports, and two pages of the report
    found = {name: sorted({hit.group(0) for hit in OF_IMAGES.finditer(text)}) for name, text in told.items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_nodes_and_their_entities_are_named(told: dict[str, str]) -> None:
    (card,) = [text for name, text in told.items() if "/experts/" in name]
    (page,) = [text for name, text in told.items() if name.endswith(".html")]
    assert re.search(r"ap \d\.\d+ .* nodes/s", told["train"])
    assert "nodes/s" in told["bench --max-seconds 0.1"]
    assert re.search(r"\d+ cases, \d+ entities", told["gate --max-seconds 0.1 --baseline BASELINE"])
    assert "SYNTHETIC: made from simulated nodes; not for use on real ones" in told["evaluate"]
    assert re.search(r"\(\d+ nodes of \d+ entities; .* from resampling entities\.", card)
    assert "without a foundation" in card
    for text in (
        "95 % intervals from resampled entities",
        "trained by the method ragformer without a foundation model.",
        "A program made all nodes. The results do not apply to real ones.",
        "A person decides about every node.",
        "--stream ROWS --store FILE --allow-synthetic",
    ):
        assert text in page
    assert re.search(r"decompose gate --run \S+ --baseline \S+/student/payments/onnx-cpu-generic-fp32 ", page)
