"""Every module that reads files of others has the boundary that turns a library's exception into one error."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("decompose/data", "decompose/config", "decompose/models", "export/onnx", "export/serving", "profiles")
READERS = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
CALLS = {
    "open", "read_bytes", "read_text", "ZipFile", "dcmread", "connect", "read_csv",
    "read_parquet", "read_parquet_schema", "scan_parquet", "np.load", "numpy.load", "nibabel.load", "torch.load",
    "onnx.load", "json.load", "json.loads", "yaml.load", "yaml.parse", "yaml.safe_load", "InferenceSession",
}  # fmt: skip
BOUNDARIES = {"reads", "refusing_damage", "refuse", "_explained"}
# What reads no file of others, or is called inside the boundary of its callers; each with the reason.
ELSEWHERE = {
    "decompose/config/yaml_files.py: _check_amount": "`parse_yaml` turns its errors into a UsageError",
    "decompose/config/yaml_files.py: parse_yaml": "turns errors into a UsageError, as `read_yaml` does",
    "decompose/config/yaml_files.py: _of_file": "`read_yaml` turns its errors into a UsageError",
    "decompose/config/yaml_files.py: _of_pipe": "`read_yaml` turns its errors into a UsageError",
    "decompose/data/formats/dicom.py: _check_deflated": "as `read_dataset`, which calls it",
    "decompose/data/formats/dicom.py: read_dataset": "every caller has `dicom.refusing_damage`",
    "decompose/data/formats/limits.py: _stated": "a file of the system",
    "decompose/data/formats/limits.py: _number": "a file of the system",
    "decompose/data/readers/csv_table.py: _encoding": "`read_table` and `in_header` turn its errors",
    "decompose/data/readers/csv_table.py: in_header": "false for a file that cannot be read",
    "decompose/models/routed.py: _use": "opens no file",
    "export/onnx/cpu_runner.py: _session": "graphs that lorkit made in memory",
    "export/onnx/precision/int8.py: quantise": "a file that ONNX Runtime wrote a moment before",
    "export/serving/counters.py: check_header": "the second is lorkit's own header",
    "export/serving/scores.py: from_json": "callers turn its errors",
    "profiles/__init__.py: _builtin": "files of this package",
}


def name_of(node: ast.expr) -> str:
    return ast.unparse(node)


def is_reading(call: ast.Call) -> bool:
    name = name_of(call.func)
    return name in CALLS or name.rpartition(".")[2] in {one for one in CALLS if "." not in one}


def is_boundary(node: ast.AST) -> bool:
    """Tell whether what lies inside a node is guarded."""
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any(name_of(call.func).rpartition(".")[2] in BOUNDARIES for call in calls)
    if isinstance(node, ast.Try):
        return any(handler.type is not None and name_of(handler.type) == "Exception" for handler in node.handlers)
    return False


def unguarded(tree: ast.Module) -> Iterator[str]:
    """Yield the functions that read outside a boundary, and are not called only from within one."""
    shared = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and name_of(node.value.func) == "reads"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    reading: set[str] = set()  # functions with a read outside a boundary
    calls: dict[str, set[str]] = {}  # function -> functions that call it outside a boundary

    def visit(node: ast.AST, function: str, guarded: bool) -> None:
        if isinstance(node, ast.FunctionDef):
            names = {name_of(one.func) if isinstance(one, ast.Call) else name_of(one) for one in node.decorator_list}
            function, guarded = node.name, bool(names & ({"reads"} | shared))
        guarded = guarded or is_boundary(node)
        if isinstance(node, ast.Call) and not guarded and function:
            if is_reading(node):
                reading.add(function)
            calls.setdefault(name_of(node.func).rpartition(".")[2], set()).add(function)
        for child in ast.iter_child_nodes(node):
            visit(child, function, guarded)

    visit(tree, "", False)
    yield from (name for name in sorted(reading) if _is_reached(name, calls, set()))


def _is_reached(name: str, calls: dict[str, set[str]], seen: set[str]) -> bool:
    """Tell whether a public function reaches one outside a boundary; a private one counts by its callers."""
    if not name.startswith("_") or name.startswith("__"):
        return True
    callers = calls.get(name, set()) - seen
    return any(_is_reached(caller, calls, seen | callers | {name}) for caller in callers)


@pytest.mark.parametrize("path", READERS, ids=[str(path.relative_to(ROOT)) for path in READERS])
def test_files_of_others_are_read_inside_a_boundary(path: Path) -> None:
    """A new reader has `reads` or `refusing_damage` of `decompose.errors`: damage is exit 4 and names the file."""
    place = str(path.relative_to(ROOT))
    found = {f"{place}: {name}" for name in unguarded(ast.parse(path.read_text(encoding="utf-8")))}
    assert not found - set(ELSEWHERE)


def test_a_reader_without_a_boundary_is_found() -> None:
    text = "def read(path):\n    return _inner(path)\ndef _inner(path):\n    return path.read_bytes()\n"
    assert list(unguarded(ast.parse(text))) == ["_inner"]
    assert not list(unguarded(ast.parse(f"@reads('x')\n{text}")))
    assert not list(
        unguarded(ast.parse(text.replace("    return _inner", "    with refusing_damage(1): return _inner")))
    )
