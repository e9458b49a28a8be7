from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.runs import ExportSelection
from lorkit.export.prediction.answers import answer, chunk_size, require_images, with_flips
from lorkit.export.prediction.network import open_network
from lorkit.export.prediction.preparation import prepare_values
from lorkit.export.prediction.sources import source_of
from lorkit.export.prediction.writers.png import PngWriter
from lorkit.export.prediction.writers.spool import Spool
from lorkit.export.prediction.writers.target import MaskTarget


def test_a_mask_is_returned_and_written_from_the_same_logits(flat: Path) -> None:
    network = open_network(flat, None, ExportSelection(), None)
    picture = np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)
    chunk = [prepare_values(network, picture, Path(name)) for name in ("a.png", "b.png")]
    spool = Spool()
    target = MaskTarget(spool, "a", PngWriter(), source_of([network]))
    found = answer(network, chunk, [target, None])
    assert [row.mask for row in found.rows] == ["a.png", None]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(spool.read("a.png")))), found.masks[0])
    np.testing.assert_array_equal(found.masks[0], found.masks[1])
    assert found.outputs["logits"].shape == (2, 3, 32, 16)
    assert 1 <= chunk_size(network) <= 32
    spool.close()


def test_flips_of_an_image_equal_to_its_mirror_image_change_nothing(exported: Path) -> None:
    network = open_network(exported / "exports" / "chest" / "onnx-cpu-generic-fp32", None, ExportSelection(), None)
    half = np.random.default_rng(0).integers(0, 255, (16, 8), dtype=np.uint8)
    image = prepare_values(network, np.concatenate([half, half[:, ::-1]], axis=1), Path("a"))
    plain, both = (answer(one, [image], [None]).outputs["logits"] for one in (network, with_flips(network)))
    np.testing.assert_allclose(plain, both, atol=1e-6)


def test_networks_of_phantoms_need_a_permission(flat: Path) -> None:
    network = open_network(flat, None, ExportSelection(), None)
    require_images(network, allow_synthetic=True)
    synthetic = type(network)(**{**vars(network), "info": network.info.with_changes(synthetic=True)})
    with pytest.raises(ArtifactError, match="--allow-synthetic"):
        require_images(synthetic, allow_synthetic=False)
