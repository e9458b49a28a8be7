"""The house rules that can be read off the source: who imports whom, what loads at start, how long things are."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from source_facts import facts_of

ROOT = Path(__file__).parent.parent
ROOMS = ("cli", "decompose", "export", "profiles", "lorkit")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
OTHERS = sorted(path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py"))

# The packages of a room from top to bottom, and the modules beside them last: imports point down this list only.
ORDER = {
    "decompose": (
        "lifecycle", "extraction", "evaluation", "training", "inspection", "runs", "methods", "models", "data",
        "experts", "tasks", "documents", "config", "metrics", "artifacts", "regions", "events", "machine",
        "processes", "errors", "lazy",
    ),
    "export": (
        "reporting", "gating", "building", "noninferiority", "benchmarking", "prediction", "serving", "onnx", "runtime",
        "targets", "rendering",
    ),
}  # fmt: skip
BESIDE = {"decompose": {"errors", "events", "lazy", "machine", "processes", "regions"}, "export": set()}
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


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_follow_the_direction() -> None:
    bad = []
    for path in SOURCES:
        room, facts = path.relative_to(ROOT).parts[0], facts_of(path)
        bad += [f"{name_of(path)}:{line}: relative import" for line in facts.relative_imports]
        for root in FORBIDDEN[room]:
            found = sorted(name for name in facts.imported if name == root or name.startswith(f"{root}."))
            bad += [f"{name_of(path)} imports {name}" for name in found]
        if room == "profiles":
            outside = {name.split(".")[0] for name in facts.imported} - set(sys.stdlib_module_names) - PROFILES_MAY
            bad += [f"{name_of(path)} imports {name}" for name in sorted(outside)]
    assert not bad


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_load_no_torch(name: str) -> None:
    path = ROOT.joinpath("decompose", *name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert not {item.split(".")[0] for item in facts_of(path).imported_at_start} & set(HEAVY)


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
    for name in sorted(facts_of(path).imported):
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
    known = {place_of(path): (facts_of(path).defined, facts_of(path).taken) for path in SOURCES}
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


def test_no_package_is_named_like_a_public_function() -> None:
    """A package `gate` would hide the function `gate` once it is imported."""
    for room in ORDER:
        public = set(importlib.import_module(f"lorkit.{room}").__all__)
        assert not public & {path.name for path in (ROOT / room).iterdir() if path.is_dir()}


def test_packages_load_no_torch() -> None:
    """Importing a package is cheap, except where it is about networks or their training."""
    bad = []
    for path in (path for path in SOURCES if path.name == "__init__.py"):
        place = place_of(path)
        if place[:1] == ("decompose",) and place[1:2] and place[1] in MAY_LOAD_TORCH:
            continue
        if {item.split(".")[0] for item in facts_of(path).imported_at_start} & set(HEAVY):
            bad.append(name_of(path))
    assert not bad


def test_sizes() -> None:
    long = [name_of(path) for path in SOURCES if facts_of(path).lines > 300]
    for path in SOURCES:
        long += [f"{name_of(path)}: {name} has {lines}" for name, lines in facts_of(path).functions if lines > 60]
    assert not long


def test_nothing_is_left_to_do_or_to_trust() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "X" + "XX")
    unsafe = ("eval", "exec", "pickle.load", "pickle.loads", "yaml.unsafe_load")
    bad = []
    for path in [*SOURCES, *OTHERS]:
        text, facts = path.read_text(encoding="utf-8"), facts_of(path)
        bad += [f"{name_of(path)}: {mark}" for mark in marks if mark in text]
        bad += [f"{name_of(path)}:{line}: bare except" for line in facts.bare_excepts]
        for call in facts.calls:
            untrusted = call.name == "torch.load" and call.keywords.get("weights_only") != "True"
            if call.name in unsafe or untrusted:
                bad.append(f"{name_of(path)}:{call.line}: {call.name}")
    assert not bad


def test_libraries_do_not_print() -> None:
    """Only the command line prints, and the script that is put beside an export."""
    printing = [
        f"{name_of(path)}:{call.line}"
        for path in SOURCES
        if ROOT / "cli" not in path.parents
        for call in facts_of(path).calls
        if call.name == "print" and not call.in_main
    ]
    assert not printing


def test_tests_mirror_the_source() -> None:
    """Nine of ten modules with a function that does something have a test file at the same path below `tests`."""
    modules = [path.relative_to(ROOT) for path in SOURCES if facts_of(path).does_something]
    missing = [str(path) for path in modules if not (ROOT / "tests" / path.parent / _test_name(path)).is_file()]
    assert len(missing) <= 0.1 * len(modules), "\n".join(missing)


def _test_name(path: Path) -> str:
    return f"test_{path.stem.strip('_')}.py"


def test_tests_wait_for_other_processes_with_a_time_limit() -> None:
    """A process that hangs has to fail its test, not the whole suite."""
    endless = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for call in facts_of(path).calls:
            waits = call.name in ("subprocess.run", "subprocess.check_output")
            waits |= call.name.endswith((".communicate", ".join", "process.wait"))
            # a string's join takes what it joins; a thread's or process's takes nothing but its limit
            waits &= not (call.name.endswith(".join") and call.arguments)
            if waits and "timeout" not in call.keywords:
                endless.append(f"{name_of(path)}:{call.line}")
    assert not endless
