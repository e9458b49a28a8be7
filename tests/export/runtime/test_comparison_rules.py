"""Which decisions of a network with several heads count, and how its outputs are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mixtures import BRAIN, CHEST, mixture_of

from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.documents.heads import Mixture
from lorkit.decompose.errors import ParityError
from lorkit.decompose.regions import Region
from lorkit.export.runtime.comparison_rules import Rule, batches_of, rules_of
from lorkit.export.runtime.parity import measure_outputs, require_parity, worst_parity

LUNGS = Region(name="lungs", task="segmentation", classes=("left", "right"))
REGION_N = np.array([0, 1, 1, 0, 1, 0])
IMAGES = np.arange(6, dtype=np.float32)[:, None] / 6


def described(mixture: Mixture) -> ExportedNetwork:
    return ExportedNetwork.model_construct(mixture=mixture, task="mixture", classes=["chest", "brain"], decision=None)


def outputs(policy: str = "routed") -> dict[str, np.ndarray]:
    """Of a router of chest and brain for six images whose regions it finds."""
    found = {
        "logits_chest": np.tile(np.float32([3, 1]), (6, 1)),
        "logits_brain": np.tile(np.float32([0, 2, 1]), (6, 1)),
        "region_probabilities": np.where(REGION_N[:, None] == [0, 1], 0.9, 0.1).astype(np.float32),
        "confidence": np.float32([0.9, 0.6, 0.9, 0.9, 0.9, 0.9]),
        "gates": np.full((6, 2, 3), 1 / 3, np.float32),
    }
    return found | ({"logits": found["logits_chest"]} if policy == "weighted" else {})


def measured(
    reference: dict[str, np.ndarray], found: dict[str, np.ndarray], rules: dict[str, Rule], **options: Any
) -> Any:
    def infer(inputs: Any) -> dict[str, np.ndarray]:
        rows = np.rint(inputs["image"][:, 0] * 6).astype(int)
        return {name: values[rows] for name, values in found.items()}

    given = {"image": IMAGES, "region": REGION_N}
    return measure_outputs(infer, given, reference, rules, **{"precision": "fp32", "kind": "real", **options})


def router(**options: Any) -> dict[str, Rule]:
    return rules_of(described(mixture_of("router", **options)), outputs(), {"image": IMAGES}, "fp32")


def test_every_output_of_a_router_is_compared() -> None:
    rules = router(abstain_below=0.7)
    assert list(rules) == list(mixture_of("router").output_names)
    found = measured(outputs(), outputs(), rules)
    assert all(one.passed and one.max_abs == one.label_flips == 0 for one in found.values())
    assert set(rules_of(described(mixture_of("router", policy="weighted")), outputs("weighted"), {}, "fp32")) == {
        *mixture_of("router", policy="weighted").output_names
    }


@pytest.mark.parametrize("form", ["router", "region-id"])
def test_a_head_decides_images_of_its_region_and_only_a_routers_numbers_are_compared_on_all(form: Any) -> None:
    rules = rules_of(described(mixture_of(form)), outputs(), {"image": IMAGES, "region": REGION_N}, "fp32")
    changed = outputs()
    changed["logits_chest"] = changed["logits_chest"][:, ::-1].copy()  # another class in every image
    found = measured(outputs(), changed, {name: rules[name] for name in ("logits_chest", "logits_brain")})
    assert found["logits_chest"].label_flips == 3
    assert found["logits_chest"].flip_rate == 1.0
    assert found["logits_brain"].label_flips == 0
    changed = outputs()
    changed["logits_chest"][1] = np.nan if form == "region-id" else changed["logits_chest"][1] + 1.0  # of the brain
    found = measured(outputs(), changed, rules)
    assert found["logits_chest"].passed is (form == "region-id")
    assert found["logits_chest"].label_flips == 0


@pytest.mark.parametrize(
    ("precision", "policy", "passes"),
    [("fp32", "routed", False), ("int8", "routed", True), ("fp16", "weighted", True), ("int8", "all-heads", False)],
)
def test_with_few_bits_a_head_may_differ_on_images_of_other_regions(precision: str, policy: Any, passes: bool) -> None:
    reference = outputs(policy)
    changed = {name: values.copy() for name, values in reference.items()}
    changed["logits_chest"][1] += 9.0  # an image of the brain
    rules = rules_of(described(mixture_of("router", policy=policy)), reference, {}, precision)
    found = measured(reference, changed, rules, precision=precision)
    assert found["logits_chest"].passed is passes
    assert found["logits_chest"].label_flips == 0
    changed["logits_chest"][0] += 9.0
    assert not measured(reference, changed, rules, precision=precision)["logits_chest"].passed


def test_the_region_and_the_abstention_are_decisions_and_gates_are_none() -> None:
    changed = outputs()
    changed["region_probabilities"][2] = changed["region_probabilities"][2, ::-1]
    changed["confidence"][1] = 0.8  # it abstained
    changed["gates"][0, 0] = [1, 0, 0]
    found = measured(outputs(), changed, router(abstain_below=0.7))
    assert {name: one.label_flips for name, one in found.items() if not one.passed} == {
        "region_probabilities": 1, "confidence": 1, "gates": 0
    }  # fmt: skip
    assert measured(outputs(), changed, router())["confidence"].label_flips == 0  # it always answers
    assert all(one.dice is None for one in found.values())


def test_the_worst_output_stands_for_the_network_and_each_is_kept() -> None:
    changed = outputs()
    changed["logits_brain"] = changed["logits_brain"] + np.float32(1e-5)  # allowed
    changed["confidence"][0] = np.nan
    found = worst_parity(measured(outputs(), changed, router(abstain_below=0.7)))
    assert not found.passed
    assert found.max_abs is None
    assert set(found.by_output) == set(outputs())
    assert found.by_output["logits_brain"].max_abs == pytest.approx(1e-5, rel=0.05)
    with pytest.raises(ParityError, match="it differs from its source by inf"):
        require_parity(found, "it")
    one = worst_parity(measured(outputs(), outputs(), {"confidence": Rule(decides=False)}))
    assert "outputs" not in one.to_json()


def test_masks_of_a_head_are_compared_pixel_by_pixel_and_in_few_batches() -> None:
    mixture = mixture_of("region-id", (LUNGS, BRAIN))
    maps = np.zeros((6, 3, 4, 4), np.float32)
    maps[:, 1, :2], maps[:, 0, 2:] = 4, 4
    reference = {"logits_lungs": maps, "logits_brain": outputs()["logits_brain"]}
    rules = rules_of(described(mixture), reference, {"region": REGION_N}, "fp32")
    changed = {**reference, "logits_lungs": maps.copy()}
    changed["logits_lungs"][:, 2, 0, 0] = 9  # one pixel of 16, in every image
    found = measured(reference, changed, rules, batches=(1, 3, 8, 17))
    lungs = found["logits_lungs"]
    assert lungs.batches == [1, 3, 6]
    assert (lungs.label_flips, lungs.flip_rate) == (3, 1 / 16)
    assert lungs.dice == pytest.approx((2 * 7 / 15 + 0) / 2)
    assert found["logits_brain"].dice is None


def test_an_output_that_is_missing_or_of_another_shape_is_named() -> None:
    less = {name: values for name, values in outputs().items() if name != "gates"}
    with pytest.raises(ParityError, match="no output 'gates'"):
        measured(outputs(), less, router())
    with pytest.raises(ParityError, match=r"outputs of shape \(2,\)"):
        measured(outputs(), outputs() | {"logits_brain": outputs()["logits_chest"]}, router())


def test_networks_of_several_regions_run_one_batch_more() -> None:
    assert batches_of(described(mixture_of("router"))) == (1, 3, 8, 17)
    plain = ExportedNetwork.model_construct(mixture=None, task="classification", classes=list(CHEST.classes))
    assert batches_of(plain) == (1, 3, 8)
