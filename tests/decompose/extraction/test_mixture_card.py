from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.runs import Run
from lorkit.decompose.runs.mixture import LoadedMixture, load_mixture

BATCHES = {"region-id": "(batch, torch.tensor([1]))", "router": "(batch,)"}
# one interpreter, since the import of torch takes seconds; each script has names of its own
DRIVER = """
import os, runpy, sys
sys.modules["lorkit"] = None
for folder in sys.argv[1:]:
    os.chdir(folder)
    runpy.run_path("script.py")
    print("end of", folder)
"""


def write_script(loaded: LoadedMixture, form: str, folder: Path) -> None:
    """Write the card's code beside the files that it reads, and let it answer five images too."""
    folder.mkdir()
    for name in ("model.pt2", "expert.json"):
        (folder / name).symlink_to(loaded.path / name)
    code = (loaded.path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("raise SystemExit", "print") + "network(*[x.repeat(5, *[1] * (x.dim() - 1)) for x in ARGS])\n"
    (folder / "script.py").write_text(code.replace("ARGS", BATCHES[form]))


def test_the_cards_run_where_lorkit_is_not(by_id_run: Run, routed_run: Run, tmp_path: Path) -> None:
    forms = {
        form: load_mixture(run.experts_dir / form) for form, run in zip(BATCHES, (by_id_run, routed_run), strict=True)
    }
    pixels = np.random.default_rng(0).integers(0, 255, (31, 19), dtype=np.uint8)
    for form, loaded in forms.items():
        write_script(loaded, form, tmp_path / form)
        Image.fromarray(pixels).save(tmp_path / form / "image.png")
    words = [sys.executable, "-W", "ignore", "-c", DRIVER, *(str(tmp_path / form) for form in forms)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = [part.strip().split("\n")[-1] for part in done.stdout.split("end of")]
    for (form, loaded), line in zip(forms.items(), told, strict=False):
        image = torch.from_numpy(apply_recipe(loaded.recipe, pixels))[None]
        with torch.no_grad():
            if form == "region-id":
                head, logits = loaded.info.mixture.heads[0], loaded.network(image, torch.tensor([0]))[0]
            else:
                outputs = loaded.network(image)
                at = int(outputs[-3].argmax())
                head, logits = loaded.info.mixture.heads[at], outputs[at]
        expected = dict(zip(head.classes, logits.softmax(1)[0].tolist(), strict=True))
        assert ast.literal_eval(line) == pytest.approx(expected, abs=1e-5), form
