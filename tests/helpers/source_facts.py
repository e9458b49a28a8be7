"""What the house rules ask of a Python file, read in one walk of its tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_LEAVES = (ast.Name, ast.Constant, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop)


@dataclass(frozen=True)
class Call:
    """A call: the dotted name that is called (what is no name is left out: `.join`), and its words by name."""

    name: str
    line: int
    arguments: int
    keywords: dict[str, str]
    in_main: bool


@dataclass
class Facts:
    """What a file imports, defines and calls; imports and names are absolute."""

    lines: int
    imported: set[str] = field(default_factory=set)  # anywhere
    imported_at_start: set[str] = field(default_factory=set)  # neither in functions nor under `if TYPE_CHECKING`
    relative_imports: list[int] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    taken: dict[str, tuple[str, ...]] = field(default_factory=dict)  # name -> module of lorkit, as a path
    functions: list[tuple[str, int]] = field(default_factory=list)  # with their lines, without the docstring
    does_something: bool = False
    bare_excepts: list[int] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


@cache
def facts_of(path: Path) -> Facts:
    """Read a file once for all rules."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    facts = Facts(lines=len(text.splitlines()))
    _find_names(tree, facts)
    for node, outside, in_main in _walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found = set(_imports(node, facts))
            facts.imported |= found
            facts.imported_at_start |= found if outside else set()
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            facts.functions.append((node.name, _length(node)))
            facts.does_something |= _does_something(node)
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            facts.bare_excepts.append(node.lineno)
        elif isinstance(node, ast.Call):
            words = {word.arg: dotted(word.value) or _constant(word.value) for word in node.keywords if word.arg}
            facts.calls.append(Call(dotted(node.func), node.lineno, len(node.args), words, in_main))
        elif outside and isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.For):
            facts.defined |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
    return facts


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` for a chain of names, `.c` where it begins with something else, and '' for no name."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def _constant(node: ast.AST) -> str:
    return repr(node.value) if isinstance(node, ast.Constant) else ""


def _walk(tree: ast.Module) -> Iterator[tuple[ast.AST, bool, bool]]:
    """Yield each node but leaves, whether it runs at import, and whether it is in a function `main` of the module."""
    mains = {id(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main"}
    waiting: list[tuple[ast.AST, bool, bool]] = [(tree, True, False)]
    while waiting:
        parent, outside, in_main = waiting.pop()
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, _LEAVES):
                continue
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for_types = isinstance(node, ast.If) and dotted(node.test) == "TYPE_CHECKING"
            found = node, outside and not function and not for_types, in_main or id(node) in mains
            yield found
            waiting.append(found)


def _imports(node: ast.Import | ast.ImportFrom, facts: Facts) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    if node.level:
        facts.relative_imports.append(node.lineno)
    yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _find_names(tree: ast.Module, facts: Facts) -> None:
    """Note the functions and classes of a module, and what it imports from which module of lorkit."""
    facts.defined |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for block in [tree, *(node for node in tree.body if isinstance(node, ast.If))]:
        for statement in block.body:
            if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("lorkit."):
                for alias in statement.names:
                    facts.taken[alias.asname or alias.name] = tuple(str(statement.module).split("."))[1:]


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring


def _does_something(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether a function has more than a docstring, `...` or `pass`."""
    texts = [one for one in node.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant)]
    return any(one not in texts and not isinstance(one, ast.Pass) for one in node.body)
