"""What lies beside an engine so that others can run it: metadata, reference samples, a readme and an example."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lorkit.decompose import transforms
from lorkit.decompose.artifacts import write_bytes, write_json, write_text
from lorkit.export.exported import INFO
from lorkit.export.targets.base import Floats

if TYPE_CHECKING:
    from lorkit.export.sources import Source

SAMPLES, EXAMPLE, README = "samples.npz", "example.py", "README.md"


def graph_metadata(source: Source, precision: str) -> dict[str, str]:
    """Return what an ONNX file says about itself, text by name.

    Nothing in it depends on when or where the export was made: the same expert gives the same file.
    """
    return {
        "region": source.region.name,
        "owner": source.owner,
        "task": source.region.task,
        "classes": json.dumps(list(source.region.classes), ensure_ascii=False),
        "recipe": json.dumps(source.recipe, sort_keys=True),
        "precision": precision,
        "synthetic": "true" if source.synthetic else "false",
        "weights_digest": source.weights_digest,
        "use": "not for diagnosis",
    }


def write_package(
    source: Source, info: dict[str, Any], directory: Path, samples: tuple[Floats, Floats, str]
) -> dict[str, Any]:
    """Write `export.json`, `samples.npz`, `example.py` and `README.md` beside the engine.

    Args:
        source: What was exported.
        info: What the exporter knows: graph, engine and parity.
        directory: Where the engine lies.
        samples: Inputs (n, C, *spatial) that may be kept, the source's logits (n, classes), and what the inputs are.

    Returns:
        `export.json`.
    """
    images, logits, kind = samples
    mean, std = transforms.normalisation(source.recipe)
    document = {
        **info,
        "owner": source.owner,
        "region": source.region.name,
        "task": source.region.task,
        "modality": source.region.modality,
        "classes": list(source.region.classes),
        "image": {"size": list(source.shape[1:]), "channels": source.shape[0]},
        "recipe": source.recipe,
        "normalise": {"mean": list(mean), "std": list(std)},
        "in_region": source.info.get("in_region"),
        **source.cost(),
        "samples": {"inputs": kind, "n": len(images)},
        "synthetic": source.synthetic,
        "source": {"kind": source.parent.kind, "manifest": source.parent.digest, "weights": source.weights_digest},
    }
    write_json(directory / INFO, document)
    write_bytes(directory / SAMPLES, _npz(image=images, logits=logits))
    write_text(directory / EXAMPLE, Path(__file__).with_name(EXAMPLE).read_text(encoding="utf-8"))
    write_text(directory / README, _readme(document))
    return document


def _npz(**arrays: Floats) -> bytes:
    stream = io.BytesIO()
    plain: dict[str, Any] = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    np.savez_compressed(stream, **plain)
    return stream.getvalue()


def _readme(info: dict[str, Any]) -> str:
    channels, size = info["image"]["channels"], info["image"]["size"]
    shape = ", ".join(str(side) for side in ("N", channels, *size))
    engine = info["engine"]
    lines = [
        f"# {info['region']} ({info['owner']}), {info['target']} for {info['profile']}, {info['precision']}",
        "",
        "Not for diagnosis."
        + (" Trained on drawn phantoms: it knows nothing of patients." if info["synthetic"] else ""),
        "",
        f"- input `image`: float32 ({shape}) in [0, 1]; the normalisation is inside the graph, N is free",
        f"- output `logits`: float32 (N, {len(info['classes'])}): {', '.join(info['classes'])}",
        f"- engine: `{engine}`" if engine else f"- no engine yet: {info['parity'].get('reason', '')}",
        "- `export.json` holds the preprocessing recipe, parity and cost; `manifest.json` the digest of every file",
        "- `samples.npz` holds inputs and the source network's logits for them",
        "",
        "Run one image with onnxruntime, numpy and Pillow alone:",
        "",
        "```",
        "pip install onnxruntime numpy pillow",
        "python example.py IMAGE.png",
        "```",
        "",
    ]
    return "\n".join(lines)
