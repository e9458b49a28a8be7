"""Every target and precision for one expert on this CPU, compared with PyTorch in one process, interleaved.

    decompose train && decompose extract          # an expert of a run, such as a ResNet-18 at 224 x 224
    python benchmarks/deployment.py --run RUN --region brain --out deployment.json --markdown deployment.md

Batch 1, one thread. Every cycle times every engine once in a new random order; a factor is the median of the paired
ratios within cycles, with its 95 % moving-block bootstrap interval. Accuracy is compared on the locked test part with
the fp32 ONNX file, by patient. The foundation is the run's, or an untrained network of the named backbone, since
weights do not change latency.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lorkit.decompose.artifacts.arrays import Float32Array
from lorkit.decompose.errors import LorkitError
from lorkit.decompose.machine import fingerprint, tool_versions
from lorkit.decompose.metrics import paired_drop
from lorkit.decompose.models.backbones.registry import attach_head, build_backbone, new_head
from lorkit.decompose.runs import experts_of, open_run
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.export.benchmarking.interleaving import TimedEngine, random_inputs, time_interleaved, warm_up
from lorkit.export.benchmarking.timing_statistics import paired_ratio
from lorkit.export.building.exporting import export
from lorkit.export.building.sources import exportable_expert
from lorkit.export.noninferiority.evidence import engine_logits
from lorkit.export.runtime.engine import load_engine
from lorkit.export.runtime.exported import read_exported
from lorkit.profiles import detect

WANTED = {"onnx": ("fp32", "int8"), "openvino": ("fp32", "bf16", "int8"), "aoti": ("fp32", "bf16")}
EAGER, FOUNDATION, RAW = "PyTorch eager", "PyTorch eager, foundation", "ONNX Runtime itself"
SEED = 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--run", required=True, help="a run with an extracted expert")
    arguments.add_argument("--region", required=True)
    arguments.add_argument("--foundation", default="resnet50", help="backbone to time as the foundation")
    arguments.add_argument("--cycles", type=int, default=150)
    arguments.add_argument("--out", type=Path, help="write the JSON document with raw samples to this file")
    arguments.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        document = _measured(options, Path(folder))
    if options.out:
        options.out.write_text(json.dumps(document), encoding="utf-8")
    text = _markdown(document)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


def _measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    run = open_run(options.run)
    expert = experts_of(run, options.region)[options.region]
    source = exportable_expert(expert, run=run)
    exports, failures = _exports(run.path, options.region, folder)
    shape = (1, *source.shape)
    foundation = build_backbone(options.foundation, channels=shape[1], image_size=shape[2:])
    foundation = attach_head(foundation, new_head(foundation, len(source.region.classes))).eval()
    session = _session(exports["onnx fp32"]["path"])
    engines = {name: load_engine(found["path"], threads=1) for name, found in exports.items()}
    runs: dict[str, Callable[[Float32Array], object]] = {
        EAGER: _eager(source.network),
        FOUNDATION: _eager(foundation),
        RAW: lambda batch: session.run(None, {"image": batch}),
        **{name: engine.run for name, engine in engines.items()},
    }
    inputs = random_inputs(shape, seed=SEED)
    arms = [TimedEngine(name, call, inputs) for name, call in runs.items()]
    for arm in arms:
        warm_up(arm, limit_seconds=3)
    times_PA = time_interleaved(arms, options.cycles, runs=1, generator=np.random.default_rng(SEED))
    rows = []
    for index, arm in enumerate(arms):
        factors = {
            name: paired_ratio(times_PA[:, index], times_PA[:, list(runs).index(name)], seed=SEED)
            for name in (EAGER, FOUNDATION, RAW)
        }
        rows.append(
            {
                "arm": arm.name,
                "median_ms": float(np.median(times_PA[:, index])),
                "fastest_ms": float(times_PA[:, index].min()),
                "factors": {name: {"factor": ratio.ratio, "ci": list(ratio.ci)} for name, ratio in factors.items()},
                **{key: value for key, value in exports.get(arm.name, {}).items() if key != "path"},
                "accuracy": None,
                "samples_ms": [round(float(value), 4) for value in times_PA[:, index]],
            }
        )
    _judge(rows, engines, RunSplits(run, options.region), options.region, source.recipe)
    return {
        "machine": fingerprint(),
        "tools": tool_versions(),
        "run": run.id,
        "region": options.region,
        "shape": list(shape),
        "foundation": options.foundation,
        "cycles": options.cycles,
        "rows": rows,
        "failures": failures,
    }


def _exports(run: Path, region: str, folder: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Export at every target and precision; the seconds are those of the first and later exports of a new process."""
    found, failures = {}, {}
    profile = detect(fingerprint())
    for target, precisions in WANTED.items():
        for precision in (one for one in precisions if one in profile.precisions):
            begin = time.perf_counter()
            try:
                (result,) = export(
                    run, region=region, target=target, precision=precision, owners=("expert",), out=folder, force=True
                ).exports
            except LorkitError as error:
                failures[f"{target} {precision}"] = str(error)
                continue
            exported = read_exported(result.path)
            found[f"{target} {precision}"] = {
                "path": result.path,
                "export_seconds": time.perf_counter() - begin,
                "bytes": exported.info.size_bytes,
                "parity": exported.info.parity.model_dump(include={"max_abs", "tolerance", "label_flips", "n"}),
                "kept_fp32": exported.info.lowering.kept_fp32 if exported.info.lowering else [],
            }
    return found, failures


def _eager(network: torch.nn.Module) -> Callable[[Float32Array], object]:
    def run(batch: Float32Array) -> object:
        with torch.inference_mode():
            return network(torch.from_numpy(batch)).numpy()

    return run


def _session(directory: Path) -> Any:
    import onnxruntime  # after lorkit, which turns its telemetry off

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"])


def _judge(rows: list[dict[str, Any]], engines: dict[str, Any], data: RunSplits, region: str, recipe: Any) -> None:
    """Add the drop of balanced accuracy against the fp32 ONNX file, in place."""
    cases = data.part(region, "test", recipe=recipe)
    logits = {name: engine_logits(engine, cases) for name, engine in engines.items()}
    for row in rows:
        if row["arm"] in logits:
            drop = paired_drop(cases.labels, logits["onnx fp32"], logits[row["arm"]], cases.groups, seed=SEED)
            flips = int((logits["onnx fp32"].argmax(1) != logits[row["arm"]].argmax(1)).sum())
            found = asdict(replace(drop, uncertainty=None))
            del found["uncertainty"]
            row["accuracy"] = {**found, "flips": flips, "n": len(cases)}
    for engine in engines.values():
        engine.close()


def _markdown(document: dict[str, Any]) -> str:
    lines = [
        f"| engine | median ms | times PyTorch | times the foundation ({document['foundation']}) | MB | export, s "
        "| drop of balanced accuracy, points | labels flipped |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in document["rows"]:
        factors = [
            f"{row['factors'][name]['factor']:.2f} [{row['factors'][name]['ci'][0]:.2f}, "
            f"{row['factors'][name]['ci'][1]:.2f}]"
            for name in (EAGER, FOUNDATION)
        ]
        seen = row["accuracy"]
        drop = (
            "-" if seen is None else f"{100 * seen['drop']:.2f} [{100 * seen['ci'][0]:.2f}, {100 * seen['ci'][1]:.2f}]"
        )
        flips = "-" if seen is None else f"{seen['flips']} of {seen['n']}"
        size = "-" if "bytes" not in row else f"{row['bytes'] / 1e6:.1f}"
        seconds = "-" if "export_seconds" not in row else f"{row['export_seconds']:.1f}"
        cells = [row["arm"], f"{row['median_ms']:.2f}", *factors, size, seconds, drop, flips]
        lines.append("| " + " | ".join(cells) + " |")
    raw = next(row for row in document["rows"] if row["arm"] == "onnx fp32")["factors"][RAW]
    lines += ["", f"lorkit's engine against ONNX Runtime itself: {1 / raw['factor']:.3f} times its time "
              f"[{1 / raw['ci'][1]:.3f}, {1 / raw['ci'][0]:.3f}]"]  # fmt: skip
    lines += [f"not measured: {name}: {reason}" for name, reason in document["failures"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
