from __future__ import annotations

import importlib.machinery
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from source_facts import facts_of

from lorkit.decompose.processes import end_with_parent, held_children, marked_children, run_child, waiting_child

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "decompose" / "processes.py"
STARTERS = (
    "subprocess.",
    "multiprocessing.",
    "concurrent.futures.process.",
    "torch.multiprocessing.",
    "pty.",
    "joblib.",
)
CALLS = ("os.fork", "os.forkpty", "os.exec", "os.spawn", "os.posix_spawn", "os.system", "os.popen", "runpy.")
CHILD = """
import os, pathlib, sys, time
from lorkit.decompose.processes import end_with_parent
end_with_parent()
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
time.sleep(100)
"""
PARENT = """
import sys
from lorkit.decompose.processes import run_child
run_child([sys.executable, "-P", "-c", sys.argv[1], sys.argv[2]], timeout=100)
"""


def test_one_module_starts_processes() -> None:
    rooms = ("cli", "decompose", "export", "lorkit", "profiles")
    found = []
    for path in (path for room in rooms for path in ROOT.glob(f"{room}/**/*.py")):
        facts = facts_of(path)
        starts = {name for name in facts.imported if f"{name}.".startswith(STARTERS)}
        starts |= {call.name for call in facts.calls if call.name.startswith(CALLS)}
        starts |= {call.name for call in facts.calls if call.name.endswith("ProcessPoolExecutor")}
        starts |= {call.name for call in facts.calls if call.keywords.get("num_workers", "0") != "0"}
        found += [path] if starts else []
    assert found == [ROOM]


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(place)]) as parent:
        end = time.monotonic() + 60
        while not (place.is_file() and place.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        child = psutil.Process(int(place.read_text()))
        assert child.ppid() == parent.pid
        os.kill(parent.pid, signal.SIGKILL)
        child.wait(timeout=20)


def test_a_child_whose_parent_is_gone_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[int]()
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setenv("LORKIT_PARENT", str(os.getpid()))  # which is not the parent of itself
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("lorkit.decompose.processes.ctypes.CDLL", lambda _: type("C", (), {"prctl": lambda *_: 0})())
    end_with_parent()
    assert ended == [6]
    end_with_parent()  # the mark is used once, and is not for this process's own children
    assert ended == [6]


@pytest.mark.parametrize(("module", "safe"), [("lorkit.__main__", "1"), ("study", None), (None, None)])
def test_processes_of_a_library_know_their_parent(
    module: str | None, safe: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    spec = None if module is None else importlib.machinery.ModuleSpec(module, None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec, raising=False)
    before = dict(os.environ)
    with marked_children():
        assert os.environ["LORKIT_PARENT"] == str(os.getpid())
        assert os.environ.get("PYTHONSAFEPATH") == safe
    assert dict(os.environ) == before


COMPILING = """
import subprocess, sys
from lorkit.decompose.processes import held_children
with held_children():
    subprocess.run(["sh", "-c", 'sh -c "sleep 100; :" & echo $! > "$0.new"; mv "$0.new" "$0"; wait', sys.argv[1]])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_what_a_library_starts_ends_with_all_that_it_started(number: signal.Signals, tmp_path: Path) -> None:
    place = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", COMPILING, str(place)], stderr=subprocess.DEVNULL) as parent:
        end = time.monotonic() + 60
        while not place.is_file() and time.monotonic() < end:
            time.sleep(0.02)
        grandchild = psutil.Process(int(place.read_text()))
        os.kill(parent.pid, number)
        grandchild.wait(timeout=20)


def test_what_is_held_is_started_as_before_and_left_alone_after_its_end(tmp_path: Path) -> None:
    plain = subprocess.Popen
    with held_children():
        assert (
            subprocess.run(["sh", "-c", "echo out; exit 3"], stdout=subprocess.PIPE, check=False, timeout=60).stdout
            == b"out\n"
        )
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.check_output(["false"], timeout=60)
        with subprocess.Popen(["sh", "-c", "exit 0"], start_new_session=True) as own:
            assert own.wait(60) == 0
        with subprocess.Popen(["sleep", "0.2"]) as held:
            assert os.getpgid(held.pid) == held.pid
    assert subprocess.Popen is plain
    with held_children():
        left = subprocess.Popen(["sleep", "100"])
    assert left.wait(20) == -signal.SIGKILL


def test_what_a_child_says_and_how_it_ends() -> None:
    code = "import sys; print('out'); sys.stderr.write('err'); sys.stdin.read(); sys.exit(3)"
    done = run_child([sys.executable, "-c", code], timeout=60)
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err")
    with pytest.raises(TimeoutError, match=r"within 0.2 s"):
        run_child([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


WAITING = """
import pathlib, sys, time
from lorkit.decompose.processes import wait_for_turn
before, after = (pathlib.Path(name) for name in sys.argv[1:])
before.touch()
wait_for_turn()
after.touch()
sys.stderr.write("e" * 200_000)  # more than a pipe holds
print("done")
sys.exit(3)
"""


def test_children_prepare_at_once_and_go_on_one_by_one(tmp_path: Path) -> None:
    places = [(tmp_path / f"{one}-before", tmp_path / f"{one}-after") for one in "ab"]
    with ExitStack() as stack:
        commands = [[sys.executable, "-c", WAITING, *map(str, two)] for two in places]
        children = [stack.enter_context(waiting_child(one, timeout=60)) for one in commands]
        for child in children:
            child.prepared()
        assert [before.exists() for before, _ in places] == [True, True]
        assert not any(after.exists() for _, after in places)
        done = children[0].finish()
        assert (done.status, done.stdout, len(done.stderr)) == (3, "done\n", 200_000)
        assert [after.exists() for _, after in places] == [True, False]
    assert not places[1][1].exists()


@pytest.mark.parametrize("at", ["import time; time.sleep(60)", "print(flush=True); import time; time.sleep(60)"])
def test_a_waiting_child_that_takes_too_long_is_ended(at: str) -> None:
    with waiting_child([sys.executable, "-c", at], timeout=0.3) as child:
        child.prepared()
        with pytest.raises(TimeoutError, match=r"within 0.3 s"):
            child.finish()


MODULE = """
import os, pathlib, sys, time
pathlib.Path(os.environ["PLACE"]).write_text(str(os.getpid()))
time.sleep(float(os.environ["IMPORTS_S"]))
if __name__ == "__main__":
    print(sys.argv[1:], __spec__.name, os.path.basename(sys.argv[0]))
"""
STARTER = """
from lorkit.decompose.processes import module_command, run_child
print(run_child([*module_command("slow_module"), "a", "b"], timeout=100).stdout)
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], subprocess.Popen[str]]:
    """Start a process that starts a module as a child; how long its imports take is in IMPORTS_S."""
    (tmp_path / "slow_module.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path / "pid"))
    monkeypatch.setenv("IMPORTS_S", "0")
    return lambda: subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True)


def test_a_module_runs_as_with_the_interpreters_own_option(started: Callable[[], subprocess.Popen[str]]) -> None:
    with started() as parent:
        assert parent.communicate(timeout=60)[0].strip() == "['a', 'b'] slow_module slow_module.py"


def test_a_module_ends_with_its_parent_while_it_imports(
    started: Callable[[], subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMPORTS_S", "100")
    place = tmp_path / "pid"
    with started() as parent:
        end = time.monotonic() + 60
        while not (place.is_file() and place.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        child = psutil.Process(int(place.read_text()))
        os.kill(parent.pid, signal.SIGKILL)
        child.wait(timeout=20)
