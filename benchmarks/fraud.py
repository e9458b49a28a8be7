"""Compare RAGFormer with its ablations, trees and other networks on three graphs, under every split that each allows.

    LORKIT_DATA=... python benchmarks/fraud.py tolokers --out /tmp/fraud --seeds 1,2,3,4,5
    LORKIT_DATA=... python benchmarks/fraud.py fdcompcn --out /tmp/fraud --seeds 1,2,3,4,5
    LORKIT_DATA=... python benchmarks/fraud.py s-ffsd --out /tmp/fraud --seeds 1,2,3,4,5

`tolokers` (real, one relation) and `fdcompcn` (real, three relations) have the parts that their files state, a random
split and one without neighbours across parts; `--splits neighbour2` keeps two hops apart, as far as nodes see. `s-ffsd`
is simulated: four shared keys and time, so a random split, one by entity and one by time. All networks of a graph have
the same epochs, batch and learning rate, chosen on validation; trees stop by validation. RAGFormer and its ablations
have two layers of width 32; `ragformer-default` has the sizes of the paper and the default training, and is left out
where one training takes over ten minutes.

`decompose compare` stores finished trainings below `--out`, so that an interrupted benchmark continues. `--splits` and
`--methods` select some. Prints one JSON document per split; `--markdown FILE` writes the tables of docs/benchmarks/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

METHODS = (
    "ragformer,ragformer-no-mixing,ragformer-no-topology,ragformer-no-fusion,ragformer-no-group-sizes,"
    "ragformer-no-label-dropout,gaga,trees-tokens,trees-own,mlp-own,gcn,rgcn"
)
DEFAULT = "ragformer-default:ragformer:student.backbone=ragformer,train.epochs=20,train.lr=0.001"
SMALL = "ragformer:width=32,feedforward=128,layers=2"
GRAPHS: dict[str, dict[str, Any]] = {
    "tolokers": {
        "region": {"workers": {"data": "fraud/tolokers.npz"}},
        "splits": ("group", "neighbour", "random"),
        "train": {"epochs": 8, "batch_size": 64, "lr": 0.002},
        "variants": (DEFAULT,),
    },
    "fdcompcn": {
        "region": {"companies": {"data": "second/fraud/fdcompcn.npz"}},
        "splits": ("group", "neighbour", "random"),
        "train": {"epochs": 8, "batch_size": 64, "lr": 0.002},
        "variants": (DEFAULT,),
    },
    "s-ffsd": {
        "region": {
            "payments": {
                "data": "fraud/S-FFSD.csv",
                "relations": ["Source", "Target", "Location", "Type"],
                "time": "Time",
                "label": "Labels",
                "classes": ["0", "1"],
                "simulated": True,
            }
        },
        "splits": ("temporal", "entity", "random"),
        "train": {"epochs": 8, "batch_size": 64, "lr": 0.002},
        "variants": (),
        # of new entities no label is known: without folds the trees learn to trust labels that the test part lacks
        "graph": {"folds": 5},
    },
}
_HOPS = {"neighbour": 1, "neighbour2": 2}
"""Hops that these splits keep apart."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", choices=GRAPHS)
    parser.add_argument("--out", type=Path, required=True, help="working directory")
    parser.add_argument("--seeds", default="1,2,3,4,5")
    parser.add_argument("--splits", help="comma-separated; default: all of the graph")
    parser.add_argument("--methods", default=METHODS, help="comma-separated")
    parser.add_argument("--part", default="test", choices=("val", "test"), help="val to choose settings")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting for all methods")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    graph = GRAPHS[options.graph]
    data = Path(os.environ["LORKIT_DATA"]).resolve()
    splits = options.splits.split(",") if options.splits else graph["splits"]
    tables = []
    for split in splits:
        out = options.out / f"{options.graph}-{split}"
        out.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(configuration(options.graph, split, data), sort_keys=False)
        (out / "decompose.yaml").write_text(text, encoding="utf-8")
        words = ["compare", "decompose.yaml", "--methods", options.methods, "--seeds", options.seeds, "--json"]
        words += ["--split", options.part]
        words += [word for variant in graph["variants"] for word in ("--variant", variant)]
        words += [word for setting in options.set for word in ("--set", setting)]
        command = [str(Path(sys.executable).with_name("decompose")), *words]
        done = subprocess.run(command, cwd=out, check=False, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        print(done.stdout)
        (out / "comparison.json").write_text(done.stdout, encoding="utf-8")
        tables.append(f"{options.graph}, split `{split}`:\n\n{markdown(json.loads(done.stdout))}")
    if options.markdown:
        options.markdown.write_text("\n".join(tables), encoding="utf-8")


def configuration(name: str, split: str, data: Path) -> dict[str, Any]:
    """Return the settings of a graph under a split."""
    graph = GRAPHS[name]
    ((region, settings),) = graph["region"].items()
    return {
        "name": f"{name}-{split}",
        "method": "ragformer",
        "regions": {region: settings | {"data": str(data / settings["data"])}},
        "split": {"by": "neighbour", "hops": _HOPS[split]} if split in _HOPS else {"by": split},
        "student": {"backbone": SMALL},
        "train": graph["train"],
        "graph": graph.get("graph", {}),
    }


def markdown(document: dict[str, Any]) -> str:
    """Return a table of the methods of one split, with the paired difference of RAGFormer from each."""
    first = next((row["label"] for row in document["table"] if row["label"] == "ragformer-default"), "ragformer")
    gains = {}
    for pair in document["compared_pairs"]:  # a pair states the drop from its baseline to its candidate
        drop, (low, high) = pair["mean_drop"]["drop"], pair["mean_drop"]["ci"]
        if pair["baseline"] == first:
            gains[pair["candidate"]] = _interval(drop, [low, high])
        elif pair["candidate"] == first:
            gains[pair["baseline"]] = _interval(-drop, [-high, -low])
    lines = [
        f"| method | AP | sd of seeds | AUROC | AP of `{first}` minus this one's | seconds per training |",
        "|---|---|---:|---:|---|---:|",
    ]
    for row in document["table"]:
        seconds = "" if row.get("train_seconds") is None else f"{row['train_seconds']:.0f}"
        lines.append(
            f"| `{row['label']}` | {_interval(row['ap'], row['ci'])} | {row['sd']:.3f} | {row['auroc']:.3f}"
            f" | {gains.get(row['label'], '')} | {seconds} |"
        )
    return "\n".join(lines) + "\n"


def _interval(value: float, bounds: list[float]) -> str:
    return f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


if __name__ == "__main__":
    main()
