"""The pages of benchmarks: answers first, a figure that says what its table says, and a command for each table."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
ANSWERS = (DOCS / "benchmarks.md").read_text(encoding="utf-8").split("\n## ")[1:]
PAGES = sorted((DOCS / "benchmarks").glob("*.md"))
SCRIPT: dict[str, Any] = runpy.run_path(str(DOCS / "figures" / "benchmarks.py"))


@pytest.mark.parametrize("drawing", SCRIPT["FIGURES"], ids=lambda drawing: drawing.name)
def test_the_figure_shows_its_table(drawing: Any) -> None:
    written = (DOCS / "figures" / f"benchmark-{drawing.name}.svg").read_text(encoding="utf-8")
    assert SCRIPT["draw"](drawing) == written, "draw it again: python docs/figures/benchmarks.py"
    text = (DOCS / "benchmarks" / f"{drawing.page}.md").read_text(encoding="utf-8")
    points = SCRIPT["points"](drawing)
    assert len(points) > 1
    for point in points:
        assert f"{abs(point.value):g}" in text.replace(",", "")


def test_a_column_of_one_name_is_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = "# A\n\n| x | y | x |\n|---|---:|---|\n| one | 1,234 | 2 |\n\n## B\n\n| z |\n|---|\n| -0.5 [-0.7, 0.1] |\n"
    (tmp_path / "page.md").write_text(table, encoding="utf-8")
    monkeypatch.setitem(SCRIPT["tables"].__globals__, "PAGES", tmp_path)
    assert SCRIPT["tables"]("page") == {
        "A": [[{"x": "one", "y": "1,234", "0": "one", "1": "1,234", "2": "2"}]],
        "B": [[{"z": "-0.5 [-0.7, 0.1]", "0": "-0.5 [-0.7, 0.1]"}]],
    }
    series = SCRIPT["Series"](heading="B", column="z", sign=-1)
    drawing = SCRIPT["Figure"](name="n", page="page", title="", axis="", series=(series,))
    (point,) = SCRIPT["points"](drawing)
    assert (point.value, point.bounds) == (0.5, (-0.1, 0.7))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.split("\n", 1)[0])
def test_an_answer_is_three_sentences_a_figure_and_a_link(answer: str) -> None:
    _, said, figure, link = answer.strip().split("\n\n")
    assert len(re.findall(r"\.(?=\s|$)", said)) == 3
    assert re.fullmatch(r"!\[[^]]+\]\(figures/[\w-]+\.svg\)", figure)
    assert re.fullmatch(r"\[[^]]+\]\(benchmarks/\w+\.md\)", link)


def test_every_page_has_an_answer() -> None:
    linked = re.findall(r"\(benchmarks/(\w+)\.md\)", "".join(ANSWERS))
    assert set(linked) == {page.stem for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_ends_with_commands_that_exist(page: Path) -> None:
    tables, protocol = page.read_text(encoding="utf-8").split("\n## Protocol\n")
    assert "\n## " not in protocol
    assert "|---" in tables
    commands = re.findall(r"^```console\n(.*?)^```", protocol, re.M | re.S)
    assert commands
    for script in re.findall(r"benchmarks/\w+\.py", "".join(commands)):
        assert (ROOT / script).is_file(), script
