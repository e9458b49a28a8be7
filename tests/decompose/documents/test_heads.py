from __future__ import annotations

import pytest
from mixtures import BRAIN, CHEST, mixture_of
from pydantic import ValidationError

from lorkit.decompose.documents.export import ExportedNetwork
from lorkit.decompose.documents.heads import Head, Mixture, head_output
from lorkit.decompose.errors import UsageError
from lorkit.decompose.tasks import get_task


def test_the_regions_of_the_heads_are_one_group_named_as_the_network() -> None:
    group = mixture_of("router").as_region()
    assert (group.name, group.classes) == ("router", ("chest", "brain"))
    assert [(one.name, one.classes) for one in group.members] == [(one.name, one.classes) for one in (CHEST, BRAIN)]
    assert not group.synthetic
    with pytest.raises(UsageError, match="mixture"):
        get_task(group.task)  # each member has its own


@pytest.mark.parametrize(
    ("known", "together"), [((True, True), True), ((True, False), False), ((True, None), None), ((None, False), False)]
)
def test_patients_are_known_if_those_of_every_region_are(known: tuple[bool | None, ...], together: bool | None) -> None:
    plain = mixture_of("region-id")
    heads = [head.with_changes(grouped=one) for head, one in zip(plain.heads, known, strict=True)]
    assert plain.with_changes(heads=heads).as_region().grouped is together


def test_a_network_of_one_region_has_one_head_with_its_decision() -> None:
    facts = {"owner": "expert", "region": "chest", "task": "multilabel", "classes": ["mass", "nodule"]}
    recipe = {"version": 1, "steps": [
        {"op": "intensity", "rule": "dtype"}, {"op": "resize", "size": [8, 8], "filter": "bilinear"},
        {"op": "channels", "count": 1}, {"op": "normalise", "mean": [0.5], "std": [0.5]},
    ]}  # fmt: skip
    decision = {"policy": "0.2", "thresholds": {"mass": 0.2, "nodule": None}}
    info = ExportedNetwork.model_validate({**facts, "recipe": recipe, "decision": decision})
    (head,) = info.heads
    assert (head.region, head.output, head.cuts) == ("chest", "logits", info.cuts)
    assert info.inputs == ("image",)
    several = info.with_changes(mixture=mixture_of("region-id"))
    assert [head.output for head in several.heads] == [head_output("chest"), head_output("brain")]
    assert several.inputs == ("image", "region")
    assert several.as_region().name == "region-id"


def test_a_network_without_heads_is_none() -> None:
    with pytest.raises(ValidationError):
        Mixture(form="router", heads=[])
    with pytest.raises(ValidationError):
        Head(region="chest", classes=["a", "b"])  # type: ignore[call-arg]
