import re
import xml.etree.ElementTree as ElementTree

import numpy as np

from lorkit.decompose.documents.measured import Timings
from lorkit.export.reporting.charts.latency_samples import latency_strips


def samples(pairs: int, ratio: float, seed: int = 0) -> Timings:
    generator = np.random.default_rng(seed)
    noise = generator.lognormal(0, 0.02, (pairs, 3))
    baseline, candidate, control = (5 * noise * [1.0, ratio, 1.0]).T.tolist()
    return Timings(baseline=baseline, candidate=candidate, control=control)


def dots(drawing: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(drawing)
    paths = [node.attrib["d"] for node in root.iter("path") if node.attrib["class"].startswith("dots")]
    return [[(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)h0", one)] for one in paths]


def test_every_pair_is_a_dot_in_both_strips() -> None:
    candidate, control = dots(latency_strips("k", "chest", samples(120, 0.5), 0.03))
    assert len(candidate) == len(control) == 120
    assert max(y for _, y in candidate) < min(y for _, y in control), "one strip above the other"


def test_both_strips_span_the_same_factor() -> None:
    """Equal noise must look equal, or the control could not be compared with the candidate by eye."""
    candidate, control = dots(latency_strips("k", "chest", samples(400, 0.25), 0.03))
    spreads = [np.subtract(*np.percentile([y for _, y in one], (75, 25))) for one in (candidate, control)]
    assert 0.8 < spreads[0] / spreads[1] < 1.25


def test_many_samples_are_thinned_and_said_so() -> None:
    drawing = latency_strips("k", "chest", samples(4000, 1.0), 0.03)
    assert len(dots(drawing)[0]) <= 1500
    assert "one in 3 is drawn" in drawing
    assert "4000 pairs" in drawing


def test_the_limit_is_drawn_or_said() -> None:
    near, far = (
        latency_strips("k", "chest", samples(50, 1.0), 0.03),
        latency_strips("k", "chest", samples(50, 0.3), 0.03),
    )
    assert 'class="limit"' in near
    assert 'class="limit"' not in far
    assert "the limit, 1.030, lies above" in far


def test_no_samples_draw_nothing() -> None:
    assert latency_strips("k", "chest", Timings(baseline=[], candidate=[], control=[]), 0.03) == ""


def test_a_pair_is_what_the_gate_counts_as_one() -> None:
    times = Timings(baseline=[4.0, 9.0, 4.0, 4.0], candidate=[3.0, 8.0, 3.0, 3.0], control=[9.0, 9.0, 9.0, 9.0])
    drawing = latency_strips("k", "chest", times, 0.03, cycles=2)
    assert "2 pairs" in drawing
    assert "candidate over baseline: median 0.500" in drawing, "3 over the mean of 4 and 9, which is 6 in logarithms"
    assert "control over baseline: median 2.250" in drawing
    assert "candidate over baseline: median 0.750" in latency_strips("k", "chest", times, 0.03)
