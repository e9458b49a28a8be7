"""Predicted memory: near the peak of the real run, and a refusal that states the number."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lorkit.decompose.data.preprocessing import window_memory
from lorkit.decompose.data.preprocessing.window_memory import CaseSize, NetworkMemory, plan_windows
from lorkit.decompose.documents.recipe import Window
from lorkit.decompose.errors import DataError
from lorkit.decompose.machine import resident_bytes

WINDOW = Window(op="window", size=[32, 32, 32], overlap=0.25, blend="gaussian", sigma=0.125)


CHILD = """
import json
import numpy as np
import torch
from torch import nn
from lorkit.decompose.data.preprocessing.window_memory import CaseSize, measure_network, plan_windows
from lorkit.decompose.data.preprocessing.windows import segment_windows
from lorkit.decompose.documents.recipe import Window
from lorkit.decompose.machine import PeakMemory, resident_bytes

torch.set_num_threads(1)
net = nn.Sequential(nn.Conv3d(1, 24, 3, padding=1), nn.ReLU(), nn.Conv3d(24, 40, 3, padding=1)).eval()
run = torch.inference_mode()(lambda batch: net(torch.from_numpy(batch)).numpy())
window = Window(op="window", size=[32, 32, 32], overlap=0.25, blend="gaussian", sigma=0.125)
memory = measure_network(run, (1, 32, 32, 32))
case = CaseSize((80, 100, 110), (70, 90, 100))
plan = plan_windows(memory, window, case)
base = resident_bytes()
volume = np.random.default_rng(0).random((1, *case.prepared), dtype=np.float32)
with PeakMemory() as measured:
    segment_windows(run, volume, window, case.size, batch=plan.batch)
print(json.dumps([memory.outputs, base, plan.stages["windows"], measured.peak]))
"""
"""In a process of its own: the heap of a test process holds much that is free."""


def test_the_predicted_peak_is_near_the_measured_one() -> None:
    """Within a fifth of the whole process, and no less than what the windows add to it."""
    done = subprocess.run([sys.executable, "-c", CHILD], check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    outputs, base, predicted, peak = json.loads(done.stdout)
    assert outputs == 40
    assert predicted == pytest.approx(peak, rel=0.2)
    assert peak - base <= 1.2 * (predicted - base)


def test_a_case_that_does_not_fit_is_refused_with_the_number() -> None:
    network, case = NetworkMemory(12, 100 * 2**20, 100 * 2**20), CaseSize((320, 320, 320), (320, 320, 320))
    with pytest.raises(DataError, match=r"320 x 320 x 320 .* needs \d\.\d\d GiB .* at most 0.50 GiB, as --memory"):
        plan_windows(network, WINDOW, case, limit=2**29)
    with pytest.raises(DataError, match="which are free"):
        plan_windows(network, WINDOW, CaseSize((9000, 9000, 9000), (9000, 9000, 9000)))


def test_the_batch_is_the_largest_that_fits() -> None:
    case = CaseSize((64, 64, 64), (64, 64, 64))
    small, large = NetworkMemory(2, 2**20, 2**20, 8), NetworkMemory(2, 200 * 2**20, 0)
    assert plan_windows(small, WINDOW, case).batch == 8
    assert plan_windows(large, WINDOW, case).batch == 1
    one = plan_windows(large, WINDOW, case)
    few = NetworkMemory(2, 40 * 2**20, 40 * 2**20, 6)
    limit = plan_windows(few, WINDOW, case, limit=2**40).stages["windows"] - 2 * 40 * 2**20
    assert plan_windows(few, WINDOW, case, limit=limit).batch <= 4 < 6
    assert one.peak >= resident_bytes() / 2


@pytest.mark.parametrize("side", [16, 80])
def test_what_a_runtime_takes_in_its_second_run_of_a_shape_is_seen(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ONNX Runtime, which plans the memory of a shape in its first run; some or one window of such sides at once."""
    calls, taken, peaks = Counter[int](), 10**8, []

    def run(windows: np.ndarray) -> np.ndarray:
        calls[len(windows)] += 1
        peaks.append(taken + 10**6 * len(windows) + 10**8 * (calls[len(windows)] > 1) + 10**9 * (side == 80))
        return np.zeros((len(windows), 3, 1, 1, 1), np.float32)

    class Peak:
        def __enter__(self) -> Peak:
            return self

        def __exit__(self, *unused: object) -> None:
            self.peak = peaks[-1]

    monkeypatch.setattr(window_memory, "PeakMemory", Peak)
    monkeypatch.setattr(window_memory, "resident_bytes", lambda: taken)
    found = window_memory.measure_network(run, (1, side, side, side))
    assert found.most == (1 if side == 80 else 8)
    assert max(calls.values()) == calls[found.most] == 2
    assert found.bytes_of(found.most) == pytest.approx(max(peaks) - taken, abs=10)
