"""Time the five commands on five public sets of real images, and compare the experts with other methods.

    LORKIT_DATA=... python benchmarks/five_regions.py --out /tmp/five-regions

The directory stores the time of each finished command, so that an interrupted benchmark continues. Prints one JSON
document; `--markdown FILE` also writes its tables.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[1] / "examples" / "five-regions" / "decompose.yaml"
FIVE = {
    "train": ["train", str(CONFIG)],
    "extract": ["extract", "--region", "all"],
    "export": ["export", "--target", "onnx"],
    "report": ["report"],
    "gate": ["gate"],
}
# Networks of the student's size without LoRKD, on the same split, with the same budget.
RIVALS = ["compare", str(CONFIG), "--methods", "mtl,stl"]
MODELS = {"foundation": "ResNet-34 foundation", "student": "LoRKD, experts off", "experts": "LoRKD experts"}
NAMES = {"mtl": "one shared ResNet-18", "stl": "five single ResNet-18"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True, help="working directory")
    arguments.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seconds = {name: _timed(options.out, name, words) for name, words in FIVE.items()}
    rivals = _json(options.out, [*RIVALS, "--json"])
    measured = {model: _json(options.out, ["evaluate", "--model", model, "--json"]) for model in MODELS}
    gate = json.loads((options.out / "gate.json").read_text())
    document = _document(seconds, measured, rivals, gate)
    print(json.dumps(document, indent=1))
    if options.markdown:
        options.markdown.write_text(_markdown(document), encoding="utf-8")


def _timed(out: Path, name: str, words: list[str]) -> float:
    """Run a command of the tour unless it has finished before; return its wall-clock seconds."""
    stamp = out / f"{name}.seconds"
    if not stamp.is_file():
        began = time.perf_counter()
        done = subprocess.run(_command([*words, "--json"]), cwd=out, stdout=subprocess.PIPE, check=False)
        # the gate's exit code is its verdict: 1 FAIL and 3 INCONCLUSIVE are results too
        if done.returncode not in ((0, 1, 3) if name == "gate" else (0,)):
            sys.exit(f"{' '.join(words)} ended with {done.returncode}: {done.stdout.decode()[-300:]}")
        (out / f"{name}.json").write_bytes(done.stdout)
        stamp.write_text(f"{time.perf_counter() - began:.1f}\n")
    return float(stamp.read_text())


def _json(out: Path, words: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(subprocess.check_output(_command(words), cwd=out))
    return document


def _command(words: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name("decompose")), *words]


def _document(
    seconds: Mapping[str, float],
    measured: Mapping[str, dict[str, Any]],
    rivals: dict[str, Any],
    gate: dict[str, Any],
) -> dict[str, Any]:
    arms = {
        MODELS[model]: {region: _score(block) for region, block in document["regions"].items()}
        for model, document in measured.items()
    }
    arms |= {
        NAMES[row["method"]]: {region: _score(block) for region, block in row["regions"].items()}
        for row in rivals["rows"]
    }
    return {
        "benchmark": "five_regions",
        "date": datetime.date.today().isoformat(),
        "machine": measured["experts"]["machine"],
        "seconds": {**seconds, "five commands": round(sum(seconds.values()), 1)},
        "rival_seconds": {row["method"]: row["train_seconds"] for row in rivals["rows"]},
        "gate": {
            "verdict": gate["verdict"],
            "regions": {name: block["verdict"] for name, block in gate["regions"].items()},
        },
        "balanced_accuracy": arms,
    }


def _score(block: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": block["balanced_accuracy"], "ci": block["ci"]["balanced_accuracy"], "n": block["n"]}


def _markdown(document: dict[str, Any]) -> str:
    arms = document["balanced_accuracy"]
    regions = list(next(iter(arms.values())))
    counts = [f"{region} (n={arms[MODELS['experts']][region]['n']})" for region in regions]
    lines = [f"| | {' | '.join(counts)} | mean |", f"|---|{'---|' * (len(regions) + 1)}"]
    for name, scores in arms.items():
        cells = ["{value:.3f} [{0:.3f}, {1:.3f}]".format(*scores[one]["ci"], **scores[one]) for one in regions]
        mean = sum(scores[one]["value"] for one in regions) / len(regions)
        lines.append(f"| {name} | {' | '.join(cells)} | {mean:.3f} |")
    lines += ["", "| command | seconds |", "|---|---|"]
    lines += [f"| {name} | {value:,.0f} |" for name, value in document["seconds"].items()]
    verdicts = ", ".join(f"{name} {verdict}" for name, verdict in document["gate"]["regions"].items())
    lines += ["", f"Gate: {document['gate']['verdict']} ({verdicts})."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
