"""Which libraries each command loads: those that take long to import, only where the call uses them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from loaded_libraries import loaded_by

SLOW = (
    "jinja2", "lightning_fabric", "monai", "nibabel", "onnx", "onnxruntime", "onnxscript", "pandas", "polars",
    "pydicom", "rich", "scipy", "scipy.sparse", "scipy.stats", "sklearn", "torch", "transformers",
)  # fmt: skip
"""Libraries that take 5 ms and more to import."""
LIGHT = {
    "init --out new.yaml": "jinja2",
    "schema gate": "",
    "profiles list": "",
    "clean": "",
    "inspect runs/small": "",
    "pack": "",
    "extract --region chest": "",
    "export --target onnx --profile cpu-generic": "onnxruntime",
    "bench runs/small/exports/chest/onnx-cpu-generic-fp32 --max-seconds 0.1": "onnxruntime rich",
    "gate --region chest --max-seconds 0.1": "onnx onnxruntime rich scipy scipy.sparse",
}
"""Commands that need no PyTorch, of a run that is finished; what they find up to date is not built."""
WITH_TORCH = {
    "data": "rich scipy scipy.sparse",
    "train --dry-run": "rich scipy scipy.sparse",
    "evaluate --region chest": "rich scipy scipy.sparse",
    "verify --region chest": "onnxruntime rich",
}


@pytest.mark.parametrize(("commands", "torch"), [(LIGHT, False), (WITH_TORCH, True)], ids=["light", "with torch"])
def test_a_command_loads_no_library_that_it_does_not_use(
    exported: Path, tmp_path: Path, commands: dict[str, str], torch: bool
) -> None:
    home = Path(shutil.copytree(exported.parent.parent, tmp_path / "home"))
    found = loaded_by([words.split() for words in commands], SLOW, home, torch=torch)
    loaded = dict(zip(commands, found, strict=True))
    assert {words: code for words, (code, _) in loaded.items() if code not in (0, 1, 3)} == {}
    allowed = {words: {*names.split(), *(["torch"] if torch else [])} for words, names in commands.items()}
    unused = {words: {*names} - allowed[words] for words, (_, names) in loaded.items()}
    assert {words: names for words, names in unused.items() if names} == {}
