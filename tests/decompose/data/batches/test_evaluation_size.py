"""Images per batch of an evaluation: at least one, at most 256, about as many pixels whatever their size."""

from __future__ import annotations

import math
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose.data.batches.evaluation_size import eval_batch_size


@given(st.lists(st.integers(1, 600), min_size=2, max_size=3))
def test_a_batch_has_at_most_a_million_pixels_unless_one_image_has_more(sides: list[int]) -> None:
    size, pixels = eval_batch_size(tuple(sides)), math.prod(sides)
    assert 1 <= size <= 256
    assert size == 1 or size * pixels <= 2**20
    assert size == 256 or (size + 1) * pixels > 2**20


def test_whole_volumes_of_an_engine_are_judged_without_torch() -> None:
    """Which a gate of masks does: it imports this, and the tasks that it judges."""
    code = (
        "import sys\n"
        "from lorkit.decompose.evaluation import whole_cases\n"
        "from lorkit.decompose.tasks import get_task\n"
        "from lorkit.export.noninferiority import evidence\n"
        "get_task('segmentation')\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
