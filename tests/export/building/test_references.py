from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lorkit.decompose.errors import ArtifactError
from lorkit.export.building.references import References
from lorkit.export.runtime.exported import read_exported

NAME = "onnx-cpu-generic-fp32"


def test_an_export_in_its_run_is_held_against_its_source(exported: Path) -> None:
    found = References(None).reference(read_exported(exported / "exports/chest" / NAME))
    assert (found.against, found.images.kind, found.notes) == ("source", "real", ())
    assert found.infer is not None
    again = found.infer(found.images.given(("image",)))
    assert np.array_equal(again["logits"], found.outputs["logits"])


def test_a_copy_is_held_against_its_samples(exported: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(exported / "exports/chest" / NAME, tmp_path / "copy"))
    found = References(None).reference(read_exported(copy))
    assert (found.against, found.infer) == ("samples", None)


def test_a_replaced_source_is_refused(exported: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(exported, tmp_path / "run"))
    subject = read_exported(run / "exports/chest" / NAME)
    (run / "experts/chest/manifest.json").write_text("{}")
    with pytest.raises(ArtifactError, match="is not the expert that"):
        References(None).reference(subject)


def test_a_comparison_loads_no_library_that_makes_graphs() -> None:
    """onnx_ir alone takes sympy with it, a tenth of the time of a comparison."""
    code = """
import sys
from lorkit.export.building import references, run_data, sources, verification
print([name for name in ("onnx_ir", "onnxscript", "sympy", "sklearn", "monai", "scipy.stats") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
