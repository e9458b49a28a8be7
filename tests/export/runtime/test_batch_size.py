from __future__ import annotations

import pytest

from lorkit.decompose import machine
from lorkit.decompose.errors import UsageError
from lorkit.decompose.regions import Region
from lorkit.export.runtime import batch_size
from lorkit.export.runtime.batch_size import check_batches, fitting, output_shape

LABELS = Region(name="a", classes=("x", "y", "z"))
MASKS = Region(name="a", task="segmentation", classes=("x", "y"))


def test_outputs_are_one_number_per_class_or_a_map_per_structure_and_background() -> None:
    assert output_shape(LABELS, (1, 16, 8)) == (3,)
    assert output_shape(MASKS, (1, 4, 5, 6)) == (3, 4, 5, 6)


@pytest.mark.parametrize(("region", "each"), [(LABELS, 4 * (128 + 3)), (MASKS, 4 * (128 + 3 * 128))])
def test_as_many_images_fit_as_their_bytes_allow(region: Region, each: int) -> None:
    shape = (1, 16, 8)
    assert fitting(region, shape, most=100, total=7 * each) == 7
    assert fitting(region, shape, most=100, total=7 * each - 1) == 6
    assert (fitting(region, shape, most=5, total=7 * each), fitting(region, shape, most=5, total=1)) == (5, 1)


def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (machine, batch_size):
        monkeypatch.setattr(module, "available_bytes", lambda: 2**30)
    check_batches(LABELS, (3, 224, 224), [1, 256])
    with pytest.raises(UsageError, match=r"--batch 2048 with inputs of 3 x 224 x 224, which needs 2\.3 GiB") as caught:
        check_batches(LABELS, (3, 224, 224), [1, 2048])
    check_batches(LABELS, (3, 224, 224), [int(str(caught.value).split("choose --batch ")[1].split()[0])])
    with pytest.raises(UsageError, match="--batch 65536"):
        check_batches(MASKS, (1, 96, 96, 96), [65536])
