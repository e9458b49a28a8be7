"""`decompose predict` beside the bare runtime: time of a picture among many, and of one picture from a new process.

    python benchmarks/prediction.py [--images 2000] [--rounds 5]

Trains the built-in phantoms once into a temporary directory, or takes `--export DIR`. Both sides use the same ONNX file
on one thread, take turns in one process, and answer the same pictures; the ratio is the median over rounds. The bare
side decodes, resizes and stacks batches of 32, and reads nothing but the picture. New processes are `decompose predict`
and the example script of the export, in turns, with the bytecode of an install. Seconds are those of the clock and of
the processor. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from lorkit.export.prediction.prediction import predict

BATCH, SIDE = 32, 64
ALLOWED = {"allow_synthetic": True, "allow_out_of_region": True}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--export", type=Path, help="an ONNX export of a classifier; default: of new phantoms")
    arguments.add_argument("--images", type=int, default=2000)
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export = options.export.resolve() if options.export else trained(folder)
        pictures = drawn(folder / "pictures", options.images)
        print("| | decompose | beside it | ratio |\n|---|---:|---:|---:|")
        for line in (*many(export, pictures, options.rounds), *one(export, pictures[0], options.rounds, folder)):
            print(line)


def trained(folder: Path) -> Path:
    """Return the ONNX export of the chest of new phantoms."""
    for words in ("train", "extract --region chest", "export --region chest --target onnx"):
        subprocess.run([sys.executable, "-m", "lorkit", *words.split()], cwd=folder, check=True)
    (export,) = folder.glob("runs/*/exports/chest/onnx-*")
    return export


def drawn(folder: Path, count: int) -> list[Path]:
    """Write pictures of noise, whose PNGs are as large as can be."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        noise = generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{index:05d}.png")
    return sorted(folder.iterdir())


def many(export: Path, pictures: list[Path], rounds: int) -> list[str]:
    """Return rows of the milliseconds per picture of both sides."""
    import onnxruntime  # after lorkit, which turns its telemetry off

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1

    def bare() -> None:
        session = onnxruntime.InferenceSession(export / "model.onnx", settings)
        image = session.get_inputs()[0]
        for start in range(0, len(pictures), BATCH):
            chunk = [Image.open(path).resize(image.shape[:1:-1]) for path in pictures[start : start + BATCH]]
            batch = np.stack([np.asarray(one, np.float32)[None] / 255 for one in chunk])
            session.run(None, {image.name: batch})

    def answered() -> None:
        predict(export, pictures, threads=1, **ALLOWED)

    return rows(f"one of {len(pictures)} pictures, ms", paired([answered, bare], rounds), 1000 / len(pictures))


def one(export: Path, picture: Path, rounds: int, folder: Path) -> list[str]:
    """Return rows of the seconds of one picture from a new process."""
    command = [sys.executable, "-m", "lorkit", "predict", str(export), str(picture)]
    command += ["--allow-synthetic", "--allow-out-of-region"]
    script = [sys.executable, str(export / "example.py"), str(picture)]
    # the warm-up writes the bytecode, which an install has
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def run(words: list[str]) -> Callable[[], None]:
        def begin() -> None:
            subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True)

        return begin

    return rows("one picture, a new process, s", paired([run(command), run(script)], rounds), 1.0)


def paired(sides: list[Callable[[], None]], rounds: int) -> list[list[tuple[float, float]]]:
    """Return the seconds of both sides, of the clock and of the processor, in each round but the first, a warm-up."""
    found = []
    for turn in range(rounds + 1):
        took = [(0.0, 0.0), (0.0, 0.0)]
        for index in (0, 1) if turn % 2 else (1, 0):
            begin, before = time.perf_counter(), sum(os.times()[:4])
            sides[index]()
            took[index] = (time.perf_counter() - begin, sum(os.times()[:4]) - before)
        found.append(took)
    return found[1:]


def rows(what: str, found: list[list[tuple[float, float]]], scale: float) -> list[str]:
    """Return a row of the medians for either kind of seconds; the ratio is the median of those of the rounds."""
    lines = []
    for index, kind in enumerate(("", ", CPU")):
        mine, other = (statistics.median(took[side][index] for took in found) * scale for side in (0, 1))
        ratio = statistics.median(took[0][index] / took[1][index] for took in found)
        lines.append(f"| {what}{kind} | {mine:.3g} | {other:.3g} | {ratio:.2f} |")
    return lines


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
