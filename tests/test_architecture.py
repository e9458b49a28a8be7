"""The house rules that can be read off the source: who imports whom, what loads at start, how long things are."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "decompose", "export", "profiles", "lorkit")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
OTHERS = sorted(path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))

# The packages of a room from top to bottom, and the modules beside them last: imports point down this list only.
ORDER = {
    "decompose": (
        "lifecycle", "extraction", "evaluation", "training", "inspection", "runs", "methods", "models", "data",
        "experts", "tasks", "documents", "config", "metrics", "artifacts", "regions", "events", "machine", "errors",
        "lazy",
    ),
    "export": (
        "reporting", "gating", "building", "noninferiority", "benchmarking", "prediction", "serving", "onnx", "runtime",
        "targets", "rendering",
    ),
}  # fmt: skip
BESIDE = {"decompose": {"errors", "events", "lazy", "machine", "regions"}, "export": set()}
# room -> top-level packages and rooms that it must not import
FORBIDDEN = {
    "decompose": ("onnx", "onnxruntime", "onnxscript", "tensorrt", "typer", "rich", "lorkit.export", "lorkit.cli",
                  "lorkit.profiles", "torchvision"),
    "export": ("typer", "rich", "lorkit.cli", "lorkit.decompose.methods", "lorkit.decompose.training",
               "lorkit.decompose.experts", "lorkit.decompose.extraction", "lorkit.decompose.lifecycle", "torchvision"),
    "profiles": ("lorkit.decompose", "lorkit.export", "lorkit.cli"),
    "cli": ("torchvision",),
    "lorkit": ("lorkit.cli.verbs", "torchvision"),  # its public names are imported on first use, as the test below says
}  # fmt: skip
PROFILES_MAY = {"pydantic", "yaml", "lorkit"}
# Reading these costs no import of torch: `decompose --help`, errors, and whatever only looks at artifacts.
LIGHT = (
    "errors", "events", "machine", "regions", "artifacts", "config", "metrics", "runs", "data.preprocessing.recipe",
)  # fmt: skip
HEAVY = ("torch", "monai", "lightning_fabric", "onnx", "onnxruntime")
MAY_LOAD_TORCH = ("models", "experts", "methods", "training")


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
    modules += [
        "lorkit.decompose",
        "lorkit.decompose.data",
        "lorkit.export",
        "lorkit.profiles",
        "lorkit",
        "lorkit.cli.main",
    ]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    code += f"print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    assert result.stdout.strip() == "[]"


def modules_imported(path: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what a file imports of lorkit: the path of each module or package below the root, and the name taken."""
    for name in imports(ast.parse(path.read_text(encoding="utf-8")), str(path)):
        parts = tuple(name.split("."))
        if parts[0] != "lorkit":
            continue
        found = parts[1:]
        while found and not _is_module(found):
            found = found[:-1]
        yield found, parts[-1] if len(found) < len(parts) - 1 else ""


def _is_module(parts: tuple[str, ...]) -> bool:
    place = ROOT.joinpath(*parts)
    return place.is_dir() or place.with_suffix(".py").is_file()


def place_of(path: Path) -> tuple[str, ...]:
    """Return the path of a module below the root; a package stands for its own `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def sibling_edges() -> dict[tuple[str, ...], dict[str, set[str]]]:
    """Return, for every package, which of its members import which others, whatever lies between."""
    edges: dict[tuple[str, ...], dict[str, set[str]]] = {}
    for path in SOURCES:
        own = place_of(path)
        for found, _ in modules_imported(path):
            common = next((at for at, pair in enumerate(zip(own, found, strict=False)) if pair[0] != pair[1]), None)
            if common:
                edges.setdefault(own[:common], {}).setdefault(own[common], set()).add(found[common])
    return edges


def test_rooms_hold_packages() -> None:
    for room, beside in BESIDE.items():
        assert {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__"} == beside
        members = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")} | beside
        assert members <= set(ORDER[room])
    assert {path.name for path in (ROOT / "cli").iterdir() if path.is_dir()} - {"__pycache__"} == {"verbs", "output"}


@pytest.mark.parametrize("room", ORDER)
def test_packages_import_downwards(room: str) -> None:
    order = ORDER[room]
    edges = sibling_edges().get((room,), {})
    up = [(a, b) for a, found in edges.items() for b in found if order.index(b) < order.index(a)]
    assert not up


def test_no_package_imports_back() -> None:
    """No cycle among the members of any package: imports in functions and under TYPE_CHECKING count too."""
    found = []
    for parent, edges in sibling_edges().items():
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            found.append((".".join(parent), error.args[1]))
    assert not found


def test_names_come_from_where_they_are_defined() -> None:
    """A name is imported from its module, or from the `__init__` of a package that holds that module."""
    known = {place_of(path): _bindings(path) for path in SOURCES}
    forwarded = []
    for path in SOURCES:
        for found, name in modules_imported(path):
            defined, taken = known.get(found, (set(), {}))
            if not name or name in defined or found not in known:
                continue
            source = taken.get(name)
            inside = source is not None and source[: len(found)] == found and len(source) > len(found)
            if not inside and not (name.startswith("__") and name.endswith("__")):
                forwarded.append(f"{path.relative_to(ROOT)}: {name} from {'.'.join(found)}")
    assert not forwarded


def _bindings(path: Path) -> tuple[set[str], dict[str, tuple[str, ...]]]:
    """Return what a module defines, and what it imports from which module of lorkit."""
    defined: set[str] = set()
    taken: dict[str, tuple[str, ...]] = {}
    for node in _outside_functions(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.For):
            defined |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for block in [tree, *(node for node in tree.body if isinstance(node, ast.If))]:
        for statement in block.body:
            if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("lorkit."):
                for alias in statement.names:
                    taken[alias.asname or alias.name] = tuple(str(statement.module).split("."))[1:]
    return defined, taken


def test_no_package_is_named_like_a_public_function() -> None:
    """A package `gate` would hide the function `gate` once it is imported."""
    for room in ORDER:
        public = set(importlib.import_module(f"lorkit.{room}").__all__)
        assert not public & {path.name for path in (ROOT / room).iterdir() if path.is_dir()}


INITS = [path for path in SOURCES if path.name == "__init__.py"]


@pytest.mark.parametrize("path", INITS, ids=names(INITS))
def test_packages_load_no_torch(path: Path) -> None:
    """Importing a package is cheap, except where it is about networks or their training."""
    place = place_of(path)
    if place[:1] == ("decompose",) and place[1:2] and place[1] in MAY_LOAD_TORCH:
        return
    found = {item.split(".")[0] for item in imports(ast.parse(path.read_text()), str(path), nested=False)}
    assert not found & set(HEAVY)


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
    """Nine of ten modules with a function that does something have a test file at the same path below `tests`."""
    modules = [path.relative_to(ROOT) for path in SOURCES if any(map(_does_something, ast.walk(_parse(path))))]
    missing = [str(path) for path in modules if not (ROOT / "tests" / path.parent / _test_name(path)).is_file()]
    assert len(missing) <= 0.1 * len(modules), "\n".join(missing)


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _does_something(node: ast.AST) -> bool:
    """Tell whether a node is a function with more than a docstring, `...` or `pass`."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    texts = [one for one in node.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)]
    return any(one not in texts and not isinstance(one, ast.Pass) for one in node.body)


def _test_name(path: Path) -> str:
    return f"test_{path.stem.strip('_')}.py"


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
