"""`decompose init`: a commented configuration to start from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorkit.cli import options

if TYPE_CHECKING:
    from lorkit.decompose.data.readers.discovery import FoundSource

FILE = Path("decompose.yaml")

_HEAD = """\
# What `decompose train` reads. Relative paths start at this file; ${VARIABLES} are expanded.
# Unknown keys are errors. Reference: docs/concepts.md, docs/data.md
name: {name}
method: lorkd                # lorkd; or another: rd, stl, mtl, mtl-kd, finetune, lora, mtl-pcgrad ...: docs/compare.md
seed: 0

image:
  size: {size}                   # pixels; every image is resized to it
  channels: {channels}                # 1 gray, 3 colour (gray images are repeated)

# One entry per region: an .npz, a folder of class folders, a CSV manifest, or phantom:NAME (built in, synthetic).
regions:
"""

_TAIL = """\

split:                       # by patient (group), never by image
  val: 0.15
  test: 0.15
  by: group

foundation:                  # the large model to decompose
  backbone: {foundation}
  weights: null              # your .safetensors or .pth; null: pre-train on all regions first
  key_map: null              # prefixes of the keys in your file, such as {"model.": ""}
  regions: all
  epochs: {foundation_epochs}                  # null: train.epochs

student:                     # the small network of every expert
  backbone: {student}

train:
  epochs: {epochs}
  batch_size: {batch_size}
  optimizer: {optimizer}           # sgd, adamw
  lr: {lr}
  weight_decay: {weight_decay}
  precision: fp32            # fp32, bf16, fp16
  sampling: sqrt             # of regions: balanced, sqrt, proportional
  accumulate: 1              # micro-batches per batch: less memory, same gradients
  ema: null                  # 0.999: keep an exponential average of the weights
  checkpointing: false       # run blocks again in backward: less memory, more time
  compile: false             # torch.compile the backbone; faster in long trainings
  balancer: sum              # of the gradients of regions: sum; pcgrad, cagrad, aligned-mtl, upgrad, nash-mtl (torchjd)
  log_conflict: 0            # N: log the cosine between gradients of regions every N epochs
  devices: 1

cache:                       # of the teacher's features on disk; needs train.augment null or {views: K}
  enabled: false
  budget: 2048               # MiB
  dtype: fp32                # fp32: same result as without a cache; fp16, bf16: half the space
  directory: null            # null: foundations/features/

privacy:
  embed_images: phantom      # images in reports and samples: phantom, true, false

lorkd:
  rank: 8                    # of every low-rank expert
  alpha: 16                  # scale of the experts is alpha / rank
"""


def init(
    from_data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Fill in the regions from the data in this directory.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write.")] = FILE,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: options.Json = False,
) -> None:
    """Write a commented decompose.yaml."""
    from lorkit.cli.output.streams import print_json, print_result, print_status
    from lorkit.decompose.artifacts import write_text
    from lorkit.decompose.errors import UsageError

    if out.exists() and not force:
        raise UsageError(f"{out} exists", required="a new file", fix="choose another with --out, or use --force")
    found = _discover(from_data)
    write_text(out, template(found, base=out.resolve().parent))
    from lorkit.decompose import load_config

    config = load_config(out)
    skipped = {str(entry.path): entry.problem for entry in found if entry.problem}
    if as_json:
        print_json({"config": out, "regions": list(config.regions), "skipped": skipped}, kind="init")
        return
    for path, problem in skipped.items():
        print_status(f"left out {path}: {problem}")
    print_status(f"regions: {', '.join(config.regions)}; next: `decompose data`, then `decompose train`")
    print_result(str(out))


def template(found: Sequence[FoundSource], *, base: Path) -> str:
    """Return the text of a configuration with the regions that were found, or the built-in ones without any."""
    lines = (
        [_region(entry, base) for entry in found]
        if found
        else [f"  {name}: {{data: phantom:{name}}}" for name in _phantoms()]
    )
    text = _HEAD + "\n".join(lines) + "\n" + _TAIL
    for key, value in _values(bool(found)).items():
        text = text.replace("{" + key + "}", "null" if value is None else str(value))
    return text


def _phantoms() -> tuple[str, ...]:
    from lorkit.decompose import default_config

    return tuple(default_config().regions)


def _values(real: bool) -> dict[str, object]:
    """Return the values of the template: those of the built-in configuration, or defaults for real images."""
    from lorkit.decompose import default_config

    built_in = default_config()
    sizes = {"name": "mine", "size": 64, "channels": 3, "foundation_epochs": None, "epochs": 20}
    return {
        "foundation": built_in.foundation.backbone,
        "student": built_in.student.backbone,
        "batch_size": built_in.train.batch_size,
        "optimizer": built_in.train.optimizer,
        "lr": built_in.train.lr,
        "weight_decay": built_in.train.weight_decay,
        "name": built_in.name,
        "size": built_in.image.size[0],
        "channels": built_in.image.channels,
        "foundation_epochs": built_in.foundation.epochs,
        "epochs": built_in.train.epochs,
        **(sizes if real else {}),
    }


def _region(entry: FoundSource, base: Path) -> str:
    import os

    import yaml

    if entry.problem:
        return f"  # {entry.path.name}: {entry.problem}"
    path = Path(os.path.relpath(entry.path.resolve(), base)).as_posix()
    return f"  {entry.name}: " + yaml.safe_dump({"data": path}, default_flow_style=True, width=4096).strip()


def _discover(directory: Path | None) -> Sequence[FoundSource]:
    if directory is None:
        return ()
    from lorkit.decompose.data.readers.discovery import discover

    return discover(directory)
