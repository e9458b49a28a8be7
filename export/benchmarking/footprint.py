"""Peak memory, load time and first inference of an export in a separate process.

Measured in a child process (`lorkit.export.benchmarking.footprint DIR`): a process that has loaded other
networks, or PyTorch, cannot measure its own peak or a cold start.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from lorkit.decompose.errors import ArtifactError, LorkitError, MissingRuntimeError
from lorkit.decompose.machine import peak_bytes, resident_bytes
from lorkit.decompose.processes import WaitingChild, end_with_parent, module_command, wait_for_turn, waiting_child
from lorkit.export.benchmarking.interleaving import network_inputs
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import read_exported
from lorkit.export.runtime.native_code import OPTION, native_trusted, trust_native
from lorkit.export.targets import get_target

TIMEOUT_SECONDS = 300.0
_MIB = 2**20


def footprint(directory: Path, *, batch: int = 1, threads: int | None = 1) -> dict[str, float]:
    """Load an export in a new process and run it; see `footprints`."""
    return footprints([directory], batch=batch, threads=threads)[0]


def footprints(directories: Sequence[Path], *, batch: int = 1, threads: int | None = 1) -> list[dict[str, float]]:
    """Load exports in new processes and run them: the processes import side by side, then are measured one by one.

    Args:
        directories: The exports.
        batch: Batch size.
        threads: Threads of the engine; None leaves the choice to the runtime.

    Returns:
        For each export `peak_mib`: peak resident memory minus that of the process with its runtime imported but nothing
            loaded; `process_mib`: that peak itself; `load_ms`: from the directory to an engine, digests checked;
            `first_ms`: the first inference.

    Raises:
        MissingRuntimeError: The engine cannot run here.
        ArtifactError: The child could not load or run it.
    """
    found = []
    with ExitStack() as stack:
        commands = [_command(directory, batch, threads) for directory in directories]
        children = [stack.enter_context(waiting_child(one, timeout=TIMEOUT_SECONDS)) for one in commands]
        for child in children:  # none imports while another one is measured
            child.prepared()
        for directory, child in zip(directories, children, strict=True):
            found.append(_read(directory, child))
    return found


def _command(directory: Path, batch: int, threads: int | None) -> list[str]:
    arguments = [str(directory.resolve()), str(batch), str(threads or 0), *([OPTION] if native_trusted() else [])]
    return [*module_command("lorkit.export.benchmarking.footprint"), *arguments]


def _read(directory: Path, child: WaitingChild) -> dict[str, float]:
    """Let a child measure, and return what it found."""
    try:
        done = child.finish()
    except TimeoutError:
        raise ArtifactError(
            f"{directory} did not load and run within {TIMEOUT_SECONDS:.0f} s",
            required="an engine that runs",
            fix="measure on a faster machine",
        ) from None
    if done.status == MissingRuntimeError.exit_code:
        raise MissingRuntimeError(done.stderr.strip() or f"{directory} cannot run here")
    if done.status != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.status}"])[-1]
        raise ArtifactError(
            f"{directory} failed in a separate process ({reason[:200]})",
            required="an export that loads and runs",
            fix="export it again with --force",
        )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(
    directory: Path, *, batch: int, threads: int | None, turn: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Load and run an export in this process, which is the child; `turn` waits until it may."""
    subject = read_exported(directory)
    (inputs,) = network_inputs(subject, batch, seed=0, count=1)
    # imports the runtime, whose memory is not the export's
    get_target(subject.info.target).available()
    turn()
    before = resident_bytes()
    begin = time.perf_counter()
    engine = load_engine(directory, threads=threads)
    loaded = time.perf_counter()
    engine.infer(inputs)
    first = time.perf_counter()
    for _ in range(2):
        engine.infer(inputs)
    peak = peak_bytes()
    engine.close()
    return {
        "peak_mib": (peak - before) / _MIB,
        "process_mib": peak / _MIB,
        "load_ms": (loaded - begin) * 1e3,
        "first_ms": (first - loaded) * 1e3,
    }


def main(arguments: list[str]) -> int:
    """Measure an export (directory, batch size, threads or 0, consent) in this process and print JSON."""
    end_with_parent()
    directory, batch, threads, *consent = arguments
    try:
        with trust_native(OPTION in consent):
            found = measure(Path(directory), batch=int(batch), threads=int(threads) or None, turn=wait_for_turn)
    except LorkitError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
