"""What the commands cost: the five of the README from an empty directory, and extract, verify and report by themselves.

    python benchmarks/commands.py [--rounds 3] [--without-avx512] [--run RUN]

`five` starts each command as a process, as a user does, and states its wall time and its processor time, those of its
children included. `nine` exports the chest in int8 and for OpenVINO too, which makes nine exports with those of the
foundation and the student, and times a report that has to measure all of them. `warm` runs verify, report and extract
twice in one process and states the second time, in which nothing is imported; report then finds all measurements.
`start` compares what a command takes before its first own work with a Python that imports the same libraries. With
--without-avx512 the libraries of arithmetic use AVX2 alone, as on a machine that has no more. Prints Markdown.
"""

from __future__ import annotations

import argparse
import compileall
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIVE = ("train", "extract --region chest", "export --target onnx", "gate", "report")
# extract last: exports are of the expert that was there
WARM = ("verify --region chest --target onnx", "report --force", "extract --region chest --force")
NINE = ("export --target onnx --precision int8", "export --target openvino")
# what finds nothing to do; init, which writes the built-in configuration, is first: train and data open its file
IDLE = (
    "--help", "--version", "init --out d.yaml --force", "profiles list", "inspect runs", "clean", "train d.yaml",
    "extract --region chest", "export --target onnx", "report",
)  # fmt: skip
BUSY = (
    "data d.yaml",
    "evaluate --region chest",
    "verify --region chest --target onnx",
    "gate --region chest --max-seconds 1",
)
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
TWICE = """
import os, sys, time
from lorkit.cli.main import run_command_line
for _ in range(2):
    began, before = time.perf_counter(), sum(os.times()[:4])
    code = run_command_line({words!r})
    took = time.perf_counter() - began, sum(os.times()[:4]) - before
assert code == 0, code
sys.stderr.write(f"\\nseconds {{took[0]}} {{took[1]}}\\n")
"""
# A command, with the modules of libraries that it loads, and its processor time until it opens something of the user's.
MARKED = """
import os, sys, time
here, first = os.getcwd() + os.sep, []
def look(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and not first and isinstance(arguments[0], (str, os.PathLike)):
        if os.path.abspath(arguments[0]).startswith(here):
            first.append(time.process_time())
sys.addaudithook(look)
from lorkit.__main__ import main
sys.argv[1:] = {words!r}
try:
    main()
except SystemExit as end:
    assert end.code in (0, 1, 3), end.code
whole = time.process_time()
names = [name for name in sys.modules if name.split(".")[0] in {libraries!r} and name.count(".") < 2]
sys.stderr.write(f"\\nmarked {{(first or [whole])[0]}} {{whole}} {{' '.join(names)}}\\n")
"""
IMPORTS = """
import contextlib, importlib, sys, time
for name in {names!r}:
    with contextlib.suppress(ImportError):  # some are made by others, such as torch.ops
        importlib.import_module(name)
sys.stderr.write(f"\\nseconds {{time.process_time()}}\\n")
"""
LIBRARIES = {
    "typer", "torch", "numpy", "scipy", "monai", "onnx", "onnxruntime", "openvino", "pydantic", "PIL", "yaml", "timm",
    "rich", "lightning_fabric", "torchmetrics", "polars", "sklearn", "nibabel", "pydicom", "safetensors", "psutil",
    "jinja2",
}  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--only", default="five,warm,start,nine", help="parts, comma-separated")
    arguments.add_argument("--without-avx512", action="store_true")
    arguments.add_argument("--run", type=Path, help="directory that holds runs/ of the five commands; default: train")
    options = arguments.parse_args()
    environment = os.environ | (AVX2 if options.without_avx512 else {})
    parts = options.only.split(",")
    for name in ("lorkit", "cli", "decompose", "export", "profiles"):  # as an install does
        compileall.compile_dir(Path(__file__).parent.parent / name, quiet=2)
    isa = "AVX2 alone" if options.without_avx512 else "all instructions"
    print(f"{_cpu()}, {os.cpu_count()} cores, {isa}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "five" in parts:
            print(five(folder, options.rounds, environment))
        if options.run is not None:
            shutil.copytree(options.run / "runs", folder / "0" / "runs")
        elif not (folder / "0").exists():
            for words in FIVE:
                _process(words, _made(folder / "0"), environment)
        if "nine" in parts:  # first: the other parts measure again
            print(nine(folder / "0", folder / "nine", environment))
        if "warm" in parts:
            print(warm(folder / "0", options.rounds, environment))
        if "start" in parts:
            print(start(folder / "0", options.rounds, environment))


def five(folder: Path, rounds: int, environment: dict[str, str]) -> str:
    """Time each of the five commands from an empty directory, in every round in a new one."""
    took: dict[str, list[tuple[float, float]]] = {words: [] for words in FIVE}
    for index in range(rounds):
        where = _made(folder / str(index))
        for words in FIVE:
            took[words].append(_process(words, where, environment))
    rows = [_row(f"`decompose {words}`", found) for words, found in took.items()]
    whole = [tuple(sum(one[side] for one in found) for side in range(2)) for found in zip(*took.values(), strict=True)]
    return "\n".join(["| command | seconds | CPU seconds |\n|---|---:|---:|", *rows, _row("all five", whole), ""])


def nine(run: Path, where: Path, environment: dict[str, str]) -> str:
    """Time a report on nine exports without any measurement, and the exports that it needs."""
    shutil.copytree(run / "runs", where / "runs")
    for found in where.glob("runs/*/measurements"):
        shutil.rmtree(found)
    rows = [_row(f"`decompose {words}`", [_process(words, where, environment)]) for words in (*NINE, "report --force")]
    (count,) = {len(list(found.rglob("export.json"))) for found in where.glob("runs/*/exports")}
    return "\n".join([f"| {count} exports | seconds | CPU seconds |\n|---|---:|---:|", *rows, ""])


def warm(where: Path, rounds: int, environment: dict[str, str]) -> str:
    """Time commands in a process that has imported everything."""
    rows = []
    for words in WARM:
        found = []
        for _ in range(rounds):
            code = TWICE.format(words=words.split())
            told = _python(code, where, environment)
            found.append(tuple(float(word) for word in told.rsplit("seconds ", 1)[1].split()))
        rows.append(_row(f"`decompose {words}`", found))
    return "\n".join(["| without imports | seconds | CPU seconds |\n|---|---:|---:|", *rows, ""])


def start(where: Path, rounds: int, environment: dict[str, str]) -> str:
    """Compare the start of each command, and the whole of those that find nothing to do, with imports alone.

    The start ends when the command first opens a file, or lists a directory, of the user's: configuration, run, export.
    """
    head = "| command | start | whole | imports alone | start / imports | whole / imports | libraries |"
    rows = [head, "|---|---:|---:|---:|---:|---:|---|"]
    for words in (*IDLE, *BUSY):
        code = MARKED.format(words=words.split(), libraries=LIBRARIES)
        found = []
        for _ in range(max(5, rounds) if words in IDLE else rounds):
            began, whole, *names = _python(code, where, environment).rsplit("marked ", 1)[1].split()
            alone = _python(IMPORTS.format(names=names), where, environment)
            found.append((float(began), float(whole), float(alone.rsplit("seconds ", 1)[1])))
        times = [statistics.median(one[side] for one in found) for side in range(3)]
        ratios = [statistics.median(one[side] / one[2] for one in found) for side in range(2)]
        if words in BUSY:
            times[1] = ratios[1] = float("nan")
        shown = " | ".join(f"{value:.2f}" if value == value else "" for value in (*times, *ratios))
        libraries = sorted({name for name in names if "." not in name})
        rows.append(f"| `{words}` | {shown} | {', '.join(libraries)} |")
    return "\n".join([*rows, ""])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _row(title: str, found: list[tuple[float, ...]]) -> str:
    wall, used = (statistics.median(one[side] for one in found) for side in range(2))
    return f"| {title} | {wall:.1f} | {used:.1f} |"


def _process(words: str, where: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command and return its wall and processor seconds; a verdict of the gate is no failure."""
    began, before = time.perf_counter(), _children()
    command = [sys.executable, "-m", "lorkit", *words.split()]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in ((0, 1, 3) if words == "gate" else (0,)):
        raise SystemExit(f"decompose {words}: exit {done.returncode}\n{done.stderr}")
    if words == "gate" and done.returncode:
        print(f"gate: exit {done.returncode}")
    return time.perf_counter() - began, _children() - before


def _python(code: str, where: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=True).stderr


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
