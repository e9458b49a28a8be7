"""The house rules that can be read off the source: who imports whom, what loads at start, how long things are."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "decompose", "export", "profiles")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
OTHERS = sorted(path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))

# room -> top-level packages and rooms that it must not import
FORBIDDEN = {
    "decompose": ("onnx", "onnxruntime", "onnxscript", "tensorrt", "typer", "rich", "lorkit.export", "lorkit.cli",
                  "lorkit.profiles", "torchvision"),
    "export": ("typer", "rich", "lorkit.cli", "lorkit.decompose.methods", "lorkit.decompose.training",
               "lorkit.decompose.experts", "torchvision"),
    "profiles": ("lorkit.decompose", "lorkit.export", "lorkit.cli"),
    "cli": ("torchvision",),
}  # fmt: skip
PROFILES_MAY = {"pydantic", "yaml", "lorkit"}
# Reading these costs no import of torch: `decompose --help`, errors, and whatever only looks at artifacts.
LIGHT = (
    "errors",
    "events",
    "machine",
    "regions",
    "artifacts",
    "config",
    "metrics",
    "runs",
    "data.preprocessing.recipe",
)
HEAVY = ("torch", "monai", "lightning_fabric", "onnx", "onnxruntime")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def imports(tree: ast.AST, module: str, *, nested: bool = True) -> Iterator[str]:
    """Yield the absolute names that a module imports; `nested=False` leaves out what is under a function."""
    nodes = ast.walk(tree) if nested else _outside_functions(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield nodes that run at import: neither in functions nor under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _outside_functions(node)


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_imports_follow_the_direction(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    found = set(imports(ast.parse(path.read_text(encoding="utf-8")), str(path)))
    bad = {name for name in found for root in FORBIDDEN[room] if name == root or name.startswith(f"{root}.")}
    assert not bad, f"{path.relative_to(ROOT)} imports {', '.join(sorted(bad))}"
    if room == "profiles":
        outside = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - PROFILES_MAY
        assert not outside


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_load_no_torch(name: str) -> None:
    path = ROOT.joinpath("decompose", *name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = {item.split(".")[0] for item in imports(ast.parse(path.read_text()), name, nested=False)}
    assert not found & set(HEAVY)


def test_light_modules_load_no_torch_when_run() -> None:
    modules = [f"lorkit.decompose.{name}" for name in LIGHT]
    modules += ["lorkit.decompose", "lorkit.decompose.data", "lorkit.export", "lorkit.profiles", "lorkit.cli.main"]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    assert result.stdout.strip() == "[]"


def test_no_import_cycles_between_packages() -> None:
    """Sub-packages of decompose may use each other in one direction only."""
    edges: dict[str, set[str]] = {}
    for path in SOURCES:
        parts = path.relative_to(ROOT).parts
        owner = parts[1] if len(parts) == 3 and parts[0] == "decompose" else None
        if owner is None:
            continue
        for name in imports(ast.parse(path.read_text(encoding="utf-8")), str(path), nested=False):
            pieces = name.split(".")
            if pieces[:2] == ["lorkit", "decompose"] and (ROOT / "decompose" / pieces[2]).is_dir():
                edges.setdefault(owner, set()).add(pieces[2])
    pairs = [(a, b) for a, targets in edges.items() for b in targets if a < b and a in edges.get(b, ())]
    assert not pairs


@pytest.mark.parametrize("path", SOURCES, ids=names(SOURCES))
def test_sizes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert _length(node) <= 60, f"{path.name}: {node.name} has {_length(node)} lines"


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function without its docstring."""
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


@pytest.mark.parametrize("path", [*SOURCES, *OTHERS], ids=names([*SOURCES, *OTHERS]))
def test_nothing_is_left_to_do_or_to_trust(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    assert not [mark for mark in marks if mark in text]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{path.name}:{node.lineno}: bare except"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "pickle.load", "pickle.loads", "yaml.unsafe_load"), called
            if called == "torch.load":
                assert any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)


LIBRARIES = [path for path in SOURCES if ROOT / "cli" not in path.parents]


@pytest.mark.parametrize("path", LIBRARIES, ids=names(LIBRARIES))
def test_libraries_do_not_print(path: Path) -> None:
    """Only the command line prints, and the script that is put beside an export."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    scripts = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    allowed = {call for script in scripts for call in ast.walk(script)}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node not in allowed]
    assert not [node.lineno for node in calls if ast.unparse(node.func) == "print"]


def test_tests_mirror_the_source() -> None:
    """Most modules have a test file of their name; a few are tested through their caller."""
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests").rglob("test_*.py")}
    modules = {path.stem for path in SOURCES if path.stem != "__init__"}
    assert len(modules & tests) / len(modules) >= 0.6, sorted(modules - tests)


def test_tests_wait_for_other_processes_with_a_time_limit() -> None:
    """A process that hangs has to fail its test, not the whole suite."""
    endless = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            waits = name in ("subprocess.run", "subprocess.check_output") or name.endswith((".communicate", ".join"))
            # a string's join takes what it joins; a thread's or process's takes nothing but its limit
            waits &= not (name.endswith(".join") and call.args)
            waits |= name.endswith("process.wait")
            if waits and "timeout" not in {keyword.arg for keyword in call.keywords}:
                endless.append(f"{path.relative_to(ROOT)}:{call.lineno}")
    assert not endless
