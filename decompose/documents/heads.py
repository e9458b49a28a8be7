"""The heads of a network with several regions, and the names of its inputs and outputs."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from lorkit.decompose.documents.base import Part, Share
from lorkit.decompose.documents.network import RegionInfo
from lorkit.decompose.documents.recipe import Recipe
from lorkit.decompose.regions import RegionGroup

IMAGE, NODES, REGION = "image", "nodes", "region"
"""Names of a network's inputs: images, or prepared nodes of a graph; some take the index of each image's region."""
LOGITS, REGION_PROBABILITIES, CONFIDENCE, GATES = "logits", "region_probabilities", "confidence", "gates"
"""Names of a network's outputs; of several heads each has its own (`head_output`)."""
ROUTER: Literal["router"] = "router"
REGION_ID: Literal["region-id"] = "region-id"
MixtureForm = Literal["router", "region-id"]
"""A network for all regions that finds the region of an image, or one that takes it as an input."""
MIXTURES: tuple[MixtureForm, ...] = get_args(MixtureForm)
"""Names of these networks beside those of the regions."""
HeadPolicy = Literal["all-heads", "weighted", "routed"]
"""What the answer of a router is: every head's, the mean over heads by gate, or that of the most probable region."""
HEAD_POLICIES: tuple[HeadPolicy, ...] = get_args(HeadPolicy)


def first_input(recipe: Recipe) -> str:
    """Return the name of the first input of a network with this recipe."""
    return IMAGE if recipe.nodes is None else NODES


def head_output(region: str) -> str:
    """Return the name of the output with a region's logits."""
    return f"{LOGITS}_{region}"


class Head(RegionInfo):
    """One head of a network: its region, and the output with its logits (N, K), of masks (N, K, *spatial)."""

    output: str


class Mixture(Part):
    """The heads of a network for several regions, in the order of their indices, and how it answers."""

    form: MixtureForm
    heads: list[Head] = Field(min_length=1)
    policy: HeadPolicy = "routed"
    """Of a router; a region-id network answers with the head of the stated region."""
    abstain_below: Share | None = None
    """Confidence of the region below which a router gives no answer; null: it always answers."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the network's inputs."""
        return (IMAGE,) if self.form == "router" else (IMAGE, REGION)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the network's outputs."""
        heads = tuple(head.output for head in self.heads)
        if self.form == "region-id":
            return heads
        mean = (LOGITS,) if self.policy == "weighted" else ()
        return *heads, *mean, REGION_PROBABILITIES, CONFIDENCE, GATES

    def as_region(self) -> RegionGroup:
        """Return the regions of the heads as one, named as the network."""
        return RegionGroup.of(self.form, [head.as_region() for head in self.heads])
