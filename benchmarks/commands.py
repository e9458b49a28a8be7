"""What the commands cost: the five of the README from an empty directory, and extract, verify and report by themselves.

    python benchmarks/commands.py [--rounds 3] [--without-avx512] [--run RUN]

`five` starts each command as a process, as a user does, and states its wall time and its processor time, those of its
children included. `nine` exports the chest in int8 and for OpenVINO too, which makes nine exports with those of the
foundation and the student, and times a report that has to measure all of them. `warm` runs verify, report and extract
twice in one process and states the second time, in which nothing is imported; report then finds all measurements.
`start` compares a command that finds nothing to do with a Python that imports the same libraries. With --without-avx512
the libraries of arithmetic use AVX2 alone, as on a machine that has no more. Prints Markdown.
"""

from __future__ import annotations

import argparse
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
IDLE = ("extract --region chest", "export --target onnx")
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
IMPORTED = """
import sys
from lorkit.cli.main import run_command_line
before = set(sys.modules)
run_command_line({words!r})
names = sorted({{name.split(".")[0] for name in set(sys.modules) - before}} & {libraries!r})
sys.stderr.write("\\nimported " + " ".join(names) + "\\n")
"""
LIBRARIES = {
    "typer", "torch", "numpy", "scipy", "monai", "onnx", "onnxruntime", "openvino", "pydantic", "PIL", "yaml", "timm",
    "rich", "lightning_fabric", "torchmetrics", "polars", "sklearn", "nibabel", "pydicom", "safetensors",
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
    """Compare commands that are up to date with the imports of the libraries that they use."""
    rows = ["| up to date | CPU seconds | imports alone | ratio | libraries |\n|---|---:|---:|---:|---|"]
    for words in ("--help", "--version", *IDLE):
        told = _python(IMPORTED.format(words=words.split(), libraries=LIBRARIES), where, environment)
        names = told.rsplit("imported", 1)[1].split()
        lines = f"import {', '.join(names)}" if names else "pass"
        pairs = []
        for _ in range(max(5, rounds)):
            before = _children()
            _python(lines, where, environment)
            alone = _children() - before
            pairs.append((_process(words, where, environment)[1], alone))
        ours, theirs = (statistics.median(one[side] for one in pairs) for side in range(2))
        ratio = statistics.median(one / other for one, other in pairs)
        rows.append(f"| `decompose {words}` | {ours:.2f} | {theirs:.2f} | {ratio:.2f} | {', '.join(names)} |")
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
