"""Lower the precision of a float32 graph so that it still reproduces its source's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import onnx

from lorkit.decompose.documents.export import CalibrationSet, LayerError, Lowering, WeightCount
from lorkit.decompose.documents.heads import CONFIDENCE, GATES, REGION_PROBABILITIES
from lorkit.decompose.documents.verify import ProvenParity
from lorkit.decompose.errors import DataError, ParityError, plural
from lorkit.decompose.events import Listener, ignore, with_progress
from lorkit.export.onnx.cpu_runner import inferrer
from lorkit.export.onnx.precision.half import DTYPES, overflowing, to_half_precision
from lorkit.export.onnx.precision.int8 import quantise, restore_layers
from lorkit.export.onnx.precision.sensitivity import LAYERS, layer_inferrer
from lorkit.export.runtime.comparison_rules import Rule
from lorkit.export.runtime.parity import describe_flips, measure_outputs, worst_parity
from lorkit.export.runtime.reference_images import ReferenceImages
from lorkit.export.targets.base import Inputs, Outputs

_MOST_KEPT = 0.5
"""Maximum fraction of layers in fp32, above which the file would not have its stated precision."""


_RANKED_ON = 4
"""Images by which the layers of int8 are ranked; those of several regions are all used."""

Build = Callable[[Sequence[str]], onnx.ModelProto]
"""Lowers a graph, without the nodes of a list."""


class Cases(NamedTuple):
    """Images by input, the source's outputs for them, and how those are compared."""

    inputs: Inputs
    reference: Outputs
    rules: Mapping[str, Rule]

    def first(self, count: int) -> Cases:
        """Return the first cases; all where some decide one output only."""
        if any(rule.counted_N is not None for rule in self.rules.values()):
            return self
        inputs, reference = ({name: rows[:count] for name, rows in part.items()} for part in self[:2])
        return Cases(inputs, reference, self.rules)


class Lowered(NamedTuple):
    """A lowered graph, and its description in `export.json`: None for a float32 graph."""

    model: onnx.ModelProto
    notes: Lowering | None


def convert_precision(
    model: onnx.ModelProto,
    precision: str,
    *,
    scheme: str,
    calibration: ReferenceImages,
    reference: Outputs,
    rules: Mapping[str, Rule],
    unquantised: Sequence[str] = (),
    on_event: Listener = ignore,
) -> Lowered:
    """Lower a graph; the most sensitive layers stay in fp32 until its outputs are close enough.

    Args:
        model: The float32 graph; it is not changed.
        precision: fp32, fp16, bf16 or int8.
        scheme: The int8 scheme, see `int8`.
        calibration: Images of the training part, for the ranges of int8; the graph is tested on the first of them.
        reference: The source's outputs for as many of the first images as the graph is tested on.
        rules: How they are compared.
        unquantised: Nodes that int8 leaves in fp32.
        on_event: Receives progress of the search over layers, if the whole graph does not pass.

    Raises:
        DataError: int8 without calibration images of the region.
        ParityError: Half of the layers in fp32 are not enough.
    """
    if precision == "fp32":
        return Lowered(model, None)
    kept = region_layers(model)
    if precision == "bf16":  # ONNX Runtime has no bf16 on CPUs to try it with; its range is that of fp32
        return Lowered(to_half_precision(model, precision, excluding=kept), Lowering(kept_fp32=kept, tried=False))
    inputs = calibration.given([value.name for value in model.graph.input])
    tested = {name: values[: len(next(iter(reference.values())))] for name, values in inputs.items()}
    if precision == "int8":
        notes = _calibrated(scheme, calibration)
        kept += [name for name in unquantised if name not in kept]
    else:
        notes, large = Lowering(), overflowing(model, tested)
        kept += [name for name in large if name not in kept]

    every = Cases(tested, reference, rules)
    few = every.first(_RANKED_ON)

    def compare(infer: Callable[[Inputs], Outputs], cases: Cases) -> ProvenParity:
        found = measure_outputs(infer, *cases, precision=precision, kind=calibration.kind, batches=(8,))
        return worst_parity(found)

    def trial(candidate: onnx.ModelProto, limit: float = math.inf) -> ProvenParity:
        infer = inferrer(candidate)
        # a single output beyond the limit on some images is beyond it on all
        if limit < math.inf and few is not every and len(rules) == 1 and (found := compare(infer, few)).error > limit:
            return found
        return compare(infer, every)

    def half(excluding: Sequence[str], only: Sequence[str] | None = None) -> onnx.ModelProto:
        skipped = excluding if only is None else [node.name for node in model.graph.node if node.name not in only]
        return to_half_precision(model, precision, excluding=skipped)

    lowered = quantise(model, inputs, scheme, excluding=kept) if precision == "int8" else half(kept)
    if not (first := trial(lowered)).passed:
        text = f"{precision} alone is off by {first.error:.2g} (at most {first.tolerance:.2g}): trying each layer"
        whole, rounded = lowered, layer_inferrer(model, lowered) if precision == "int8" else None

        def alone(name: str) -> ProvenParity:
            return trial(half(kept, [name])) if rounded is None else compare(rounded(name), few)

        def build(excluding: Sequence[str]) -> onnx.ModelProto:
            return restore_layers(whole, model, excluding) if precision == "int8" else half(excluding)

        ranked = by_sensitivity(model, alone, text, on_event)
        notes = notes.with_changes(
            sensitive_layers=[LayerError(layer=name, layer_error=error) for name, error in ranked[:10]]
        )
        lowered, kept = _retry_excluding_layers(build, trial, kept, [name for name, _ in ranked], first, precision)
    return Lowered(lowered, notes.with_changes(kept_fp32=kept, tried=True))


def region_layers(model: onnx.ModelProto) -> list[str]:
    """Return the nodes from which a router computes region, confidence and gates, after its last convolutions.

    The confidence is a squared distance from the images of training, which a few steps of eight bits make large: every
    image would be of no region. They are small, and stay in fp32.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    names = {value.name for value in model.graph.output}
    open_, found = [name for name in (REGION_PROBABILITIES, CONFIDENCE, GATES) if name in names], set[str]()
    while open_:
        node = makers.get(open_.pop())
        if node is not None and node.name not in found and node.op_type not in ("Conv", "ConvTranspose"):
            found.add(node.name)
            open_ += node.input
    return [node.name for node in model.graph.node if node.name in found]


def _calibrated(scheme: str, calibration: ReferenceImages) -> Lowering:
    if calibration.kind == "seeded":
        raise DataError(
            "int8 has no input of the region to calibrate on",
            required="the training part of the expert's run",
            fix="export it where the run and its data are, or in another precision",
        )
    about = CalibrationSet(part="train", n=len(calibration.images), inputs=calibration.kind)
    return Lowering(scheme=scheme, calibration=about)


def _retry_excluding_layers(
    build: Build,
    trial: Callable[[onnx.ModelProto, float], ProvenParity],
    kept: list[str],
    ranked: list[str],
    first: ProvenParity,
    precision: str,
) -> tuple[onnx.ModelProto, list[str]]:
    """Return the first passing graph with 1, 2, 4 ... of the most sensitive layers in fp32, and those layers."""
    most = int(_MOST_KEPT * len(ranked))
    count = 1
    while count <= most:
        excluding = [*kept, *(name for name in ranked[:count] if name not in kept)]
        lowered = build(excluding)
        if trial(lowered, first.tolerance).passed:
            return lowered, excluding
        count *= 2
    raise ParityError(
        f"{precision} differs by {first.error:.3g} with {describe_flips(first)} on {plural(first.n, 'input')}, "
        f"and does not pass with {most} of {len(ranked)} layers in fp32",
        required=f"at most {first.tolerance:.3g}",
        fix="export it in a higher precision",
    )


def require_precision(census: Mapping[str, WeightCount], precision: str) -> None:
    """Raise ParityError unless most weights of a file have the stated precision; `census` is that of `to_onnx`."""
    wanted = DTYPES.get(precision, "int8" if precision == "int8" else "float32")
    elements = {name: counts.elements for name, counts in census.items() if name != "int64"}
    share = elements.get(wanted, 0) / max(1, sum(elements.values()))
    if share < 1 - _MOST_KEPT:
        raise ParityError(
            f"{share:.0%} of the weights are {wanted}",
            required=f"at least {1 - _MOST_KEPT:.0%} in a file of {precision}",
            fix="export it in a higher precision",
        )


def by_sensitivity(
    model: onnx.ModelProto, alone: Callable[[str], ProvenParity], text: str, on_event: Listener
) -> list[tuple[str, float]]:
    """Return the layers of a graph with the largest error of a logit if only that layer is lowered, worst first.

    `alone` tests the graph with one layer lowered, by the name of its node.
    """
    names = [node.name for node in model.graph.node if node.op_type in LAYERS]
    errors = [(name, alone(name).error) for name in with_progress(names, text, on_event)]
    return sorted(errors, key=lambda found: -found[1])
