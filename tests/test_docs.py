"""The documentation is true: its commands exist, its links lead somewhere, its reference is the program's own."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml
from small_runs import register_tiny

from lorkit.cli import errors as failures
from lorkit.cli.commands import list_commands
from lorkit.cli.main import app, run_command_line
from lorkit.cli.reference import reference
from lorkit.decompose import errors, load_config
from lorkit.decompose.data.phantoms import reader as phantom
from lorkit.decompose.regions import RegionSet

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/*.md")])
HOOKS = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
COMMANDS = {path: command for path, command in list_commands(typer.main.get_command(app))}
FIVE = [
    ["train"],
    ["extract", "--region", "chest"],
    ["export", "--target", "onnx"],
    ["gate"],
    ["report"],
]  # fmt: skip


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "console"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "decompose":
                yield words


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_are_known_with_known_options(page: Path) -> None:
    for words in commands(page):
        path = next((path for path in COMMANDS if words[: len(path.split())] == path.split()), None)
        assert path, f"{page.name}: {' '.join(words)}"
        known = {name for parameter in COMMANDS[path].params for name in parameter.opts} | {"--help", "--debug"}
        used = {word.split("=")[0] for word in words if word.startswith("--")}
        assert used <= known, f"{page.name}: {' '.join(words)}"


def prose(page: Path) -> str:
    """Return a page without its blocks of code, whose comments would count as headings."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def headings(page: Path) -> list[str]:
    """Return the anchors of a page as GitHub writes them; a repeated heading gets a number."""
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in re.findall(r"^#+ +(.*)", prose(page), re.M)]
    slugs = [HOOKS["slug"](title) for title in plain]
    before = [slugs[:index].count(slug) for index, slug in enumerate(slugs)]
    return [f"{slug}-{count}" if count else slug for slug, count in zip(slugs, before, strict=True)]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_the_gate_stands_before_the_report(page: Path) -> None:
    """The report shows the verdict of the gate."""
    for block in blocks(page, "console"):
        found = [line.split()[1] for line in block.splitlines() if re.match(r"decompose (gate|report)\b", line)]
        assert found == sorted(found), page.name


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", prose(page)):
        if target.startswith(("http://", "https://")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in headings(file), f"{page.name}: {target}#{anchor}"


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("What training costs", "what-training-costs"),
        ("Images, and `split.by`: 2 - 3", "images-and-splitby-2---3"),
        ("A_b c-d (e)?", "a_b-c-d-e"),
    ],
)
def test_anchors_are_those_of_github(title: str, anchor: str) -> None:
    assert HOOKS["slug"](title) == anchor


def test_links_of_the_site_are_those_of_the_repository() -> None:
    relink = HOOKS["relink"]
    assert relink("[a](../CONTRIBUTING.md#b) [c](#d)", "docs/index.md") == "[a](CONTRIBUTING.md#b) [c](#d)"
    assert relink("[a](../../docs/data.md)", "examples/ci/README.md") == "[a](../../data.md)"
    assert relink("[a](docs/architecture.md)", "CONTRIBUTING.md") == "[a](architecture.md)"
    assert relink("[a](../compare.md) [b](https://c.d/e)", "docs/benchmarks/gate.md") == (
        "[a](../compare.md) [b](https://c.d/e)"
    )


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_lists_are_read_alike_by_github_and_the_site(page: Path) -> None:
    """Python-Markdown wants an empty line before a list, and four columns before the paragraphs of an item."""
    wrong = r"^\w.*\n- .*|^\n {2,3}\S.*|^\n {4}\S.*(?:\n {4}.*)*\n(?:\d+\.|-) .*"
    assert not re.findall(wrong, re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M)


def test_every_page_of_docs_is_in_the_navigation_of_the_site() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))

    def named(entry: object) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        for part in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            yield from named(part)

    shown = list(named(settings["nav"]))
    pages = [*(ROOT / "docs").glob("**/*.md"), *ROOT.glob("examples/*/*.md"), *map(ROOT.joinpath, HOOKS["BESIDE"][:2])]
    assert sorted(shown) == sorted(HOOKS["to_site"](str(page.relative_to(ROOT))) for page in pages)


@pytest.mark.parametrize("name", ["lorkit", "lorkit.decompose", "lorkit.export"])
def test_the_python_reference_has_every_public_name(name: str) -> None:
    page = ROOT / "docs" / "api" / f"{name.removeprefix('lorkit.')}.md"
    package = importlib.import_module(name)
    shown = re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M)
    assert sorted(shown) == sorted(f"{name}.{public}" for public in package.__all__)
    assert all(getattr(package, public).__doc__ for public in package.__all__)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_examples_of_python_and_yaml_parse(page: Path) -> None:
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)


def test_the_reference_is_the_programs_own() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert text == reference(), "write it anew: python -m lorkit.cli.reference > docs/cli.md"


def test_every_exit_code_is_explained() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.M)}
    classes = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, Exception)]
    assert table == {0, 1, 3, failures.INTERRUPTED, failures.STORAGE} | {item.exit_code for item in classes}
    for item in classes:
        assert item is errors.LorkitError or f"`{item.__name__}`" in page


def test_the_readme_is_short_and_shows_the_five_commands() -> None:
    readme = ROOT / "README.md"
    assert len(readme.read_text(encoding="utf-8").splitlines()) < 200
    assert [words[1:] for words in commands(readme)][:5] == FIVE
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [command for command in re.findall(r"/decompose (\w+)", makefile)] == [words[0] for words in FIVE]


def test_the_example_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORKIT_DATA", "/data")
    config = load_config(ROOT / "examples" / "five-regions" / "decompose.yaml")
    assert list(config.regions) == ["brain", "breast", "chest", "knee", "blood"]
    assert config.regions["knee"].data == ("/data/medical/knee/knee_oa_xray.npz",)


def test_the_example_data_are_at_hand(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORKIT_DATA", str(data_root))
    config = load_config(ROOT / "examples" / "five-regions" / "decompose.yaml")
    for region in config.regions.values():
        assert all(Path(entry).is_file() for entry in region.data or ())


@pytest.mark.slow
@pytest.mark.usefixtures("architectures_known_once")
def test_the_five_commands_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's path with tiny networks and few patients; the second time everything is up to date.

    `make tour` runs it as it is.
    """
    register_tiny(monkeypatch.setitem)
    monkeypatch.setattr(phantom, "PATIENTS", {"train": 24, "val": 12, "test": 12})
    (tmp_path / "decompose.yaml").write_text(
        "name: small\nimage: {size: 16, channels: 1}\n"
        "regions: {chest: {data: phantom:chest}, brain: {data: phantom:brain}}\n"
        "foundation: {backbone: tiny_resnet_wide, epochs: 1}\nstudent: {backbone: tiny_resnet}\n"
        "train: {epochs: 1, batch_size: 16}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert [run_command_line(words) for words in FIVE[:3]] == [0] * 3
    assert run_command_line([*FIVE[3], "--max-seconds", "1"]) in (0, 1, 3)  # else it measures for a minute
    assert run_command_line(FIVE[4]) == 0
    (run,) = (path for path in (tmp_path / "runs").iterdir() if not path.name.startswith("."))
    assert RegionSet.from_json(json.loads((run / "regions.json").read_text())["regions"]).synthetic
    assert (run / "report" / "report.html").is_file()
    stamps = {path: path.stat().st_mtime_ns for path in run.rglob("manifest.json")}
    for words in FIVE[:3]:
        capsys.readouterr()
        assert run_command_line(words) == 0
        assert "up to date" in capsys.readouterr().err
    assert run_command_line(FIVE[4]) == 0
    kept = {path: path.stat().st_mtime_ns for path in run.rglob("manifest.json") if "report" not in path.parts}
    assert kept.items() <= stamps.items()
