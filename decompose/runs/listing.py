"""List the finished runs of a directory."""

from __future__ import annotations

from pathlib import Path

from lorkit.decompose.artifacts import read_manifest, sweep
from lorkit.decompose.artifacts.manifest import is_artifact
from lorkit.decompose.errors import ArtifactError

RUNS = Path("runs")
NETWORKS = Path("networks")
"""Directory of networks that lorkit did not train."""
EXPERT_INFO = "expert.json"
"""Description of an extracted network."""
GIVEN_INFO, GIVEN_SOURCE = "network.json", "source.onnx"
"""Their files."""


def list_runs(root: Path = RUNS) -> list[Path]:
    """Return the finished runs below `root`, newest first by the time in their manifests.

    Raises:
        OSError: The directory cannot be read, or none of its runs.
        ArtifactError: It has runs, and the manifest of each is damaged.
    """
    sweep(root)
    runs, refused = [], list[OSError | ArtifactError]()
    for path in sorted(root.iterdir()) if root.exists() else ():
        try:
            if not path.name.startswith(".") and is_artifact(path):
                runs.append(read_manifest(path, verify=False))
        except (ArtifactError, OSError) as error:  # such as the run of somebody else: an error only if it is named
            refused.append(error)
    found = sorted((one for one in runs if one.kind == "run"), key=lambda one: one.created, reverse=True)
    if refused and not found:
        raise refused[0]
    return [manifest.path for manifest in found]
