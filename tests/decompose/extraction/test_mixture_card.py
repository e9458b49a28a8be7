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
from lorkit.decompose.runs.mixture import load_mixture


@pytest.mark.parametrize("form", ["region-id", "router"])
def test_the_card_runs_where_lorkit_is_not(form: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run: Run = request.getfixturevalue("by_id_run" if form == "region-id" else "routed_run")
    loaded = load_mixture(run.experts_dir / form)
    pixels = np.random.default_rng(0).integers(0, 255, (31, 19), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    for name in ("model.pt2", "expert.json"):
        (tmp_path / name).symlink_to(loaded.path / name)
    code = (loaded.path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = code.replace("raise SystemExit", "print") + "network(*[x.repeat(5, *[1] * (x.dim() - 1)) for x in ARGS])\n"
    inputs = "(batch,)" if form == "router" else "(batch, torch.tensor([1]))"
    (tmp_path / "script.py").write_text("import sys; sys.modules['lorkit'] = None\n" + code.replace("ARGS", inputs))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    printed = ast.literal_eval(done.stdout.strip().split("\n")[-1])
    image = torch.from_numpy(apply_recipe(loaded.recipe, pixels))[None]
    with torch.no_grad():
        if form == "region-id":
            head, logits = loaded.info.mixture.heads[0], loaded.network(image, torch.tensor([0]))[0]
        else:
            outputs = loaded.network(image)
            at = int(outputs[-3].argmax())
            head, logits = loaded.info.mixture.heads[at], outputs[at]
    assert printed == pytest.approx(dict(zip(head.classes, logits.softmax(1)[0].tolist(), strict=True)), abs=1e-5)
