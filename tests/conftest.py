"""Fixtures for every room: one torch thread, and the real data when it is at hand."""

from __future__ import annotations

import gc
import os
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lorkit.decompose.artifacts import keys
from lorkit.decompose.models.backbones.timm_models import declare_operators

torch.set_num_threads(1)
declare_operators()  # timm brings torchvision, without which the import of torchmetrics would fail

ROOT = Path(__file__).parent.parent
_listening: list[Counter[str]] = []
_worker_seconds: list[float] = []


def _count_read(event: str, arguments: tuple[object, ...]) -> None:
    """Count files that Python opens to read; an audit hook stays for the life of the process."""
    if event != "open" or not _listening or not isinstance(arguments[0], str | os.PathLike):
        return
    if not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
        _listening[-1][os.path.abspath(arguments[0])] += 1


sys.addaudithook(_count_read)


@pytest.fixture
def reads() -> Iterator[Counter[str]]:
    """How often each file, by its absolute path, was opened to read since the test began; `clear()` starts again."""
    _listening.append(Counter())
    yield _listening[-1]
    _listening.pop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that hold a whole pipeline, so that no process ends alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but not among what the imports and the collection made, a million objects."""
    gc.freeze()
    gc.set_threshold(700, 10, 100)  # a full collection ten times less often: they were a tenth of the tests' CPU time
    gc.enable()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that hands out the tests how much CPU time this one and its children took."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["cpu_seconds"] = sum(os.times()[:4])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the CPU time of a worker."""
    _worker_seconds.append(getattr(node, "workeroutput", {}).get("cpu_seconds", 0.0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the CPU time of all processes; with workers, those have counted their own children."""
    own, children = sum(os.times()[:2]), sum(os.times()[2:4])
    seconds = own + (sum(_worker_seconds) if _worker_seconds else children)
    terminalreporter.write_line(f"CPU time of all processes: {seconds / 60:.1f} minutes")


@pytest.fixture(scope="session", autouse=True)
def one_key() -> Iterator[None]:
    """Let all directories of runs of this process have one key, so that tests can copy a finished run."""
    with pytest.MonkeyPatch.context() as patch:
        same = SimpleNamespace(token_bytes=lambda count: b"k" * count, token_hex=lambda count: (b"k" * count).hex())
        patch.setattr(keys, "secrets", same)
        yield


@pytest.fixture
def own_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each directory have a key of its own, as outside of tests."""
    monkeypatch.setattr(keys, "secrets", secrets)
    keys._passing_key.cache_clear()


@pytest.fixture(scope="session", autouse=True)
def templates_compiled_once() -> Iterator[None]:
    """Let Jinja compile each of our templates once: it compiles the eighteen of a report anew for each report."""
    import jinja2

    compile_template, known = jinja2.Environment.compile, dict[Any, Any]()

    def compiled(one: Any, source: Any, name: Any = None, filename: Any = None, *rest: Any, **options: Any) -> Any:
        if not str(filename).startswith(str(ROOT)):
            return compile_template(one, source, name, filename, *rest, **options)
        key = source, name, filename, rest, tuple(options.items()), one.autoescape, tuple(one.filters)
        if key not in known:
            known[key] = compile_template(one, source, name, filename, *rest, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compiled)
        yield


@pytest.fixture(scope="session")
def operators_known_once() -> Iterator[None]:
    """Let torch's exporter make its tables of operators once."""
    from known_graphs import know_operators_once  # imports torch's exporter

    with pytest.MonkeyPatch.context() as patch:
        know_operators_once(patch)
        yield


@pytest.fixture(scope="session")
def architectures_known_once() -> Iterator[None]:
    """Translate each architecture once for all tests that ask for it, as the exports of one call do."""
    from known_graphs import translate_once

    with pytest.MonkeyPatch.context() as patch:
        translate_once(patch)
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Root of the real data sets; a test that asks for it skips where they are absent."""
    root = Path(os.environ.get("LORKIT_DATA", ROOT.parent / "shared" / "data"))
    if not (root / "medical").is_dir():
        pytest.skip(f"no real data at {root}: set LORKIT_DATA")
    return root
