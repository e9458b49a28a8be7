"""The result of `decompose predict`: one row per image. For research, not for diagnosis."""

from __future__ import annotations

from typing import Literal

from lorkit.decompose.documents.base import Digest, Document, Owner, Part, Share


class PredictingNetwork(Part):
    """The network of the predictions."""

    path: str
    kind: Literal["export", "expert"]
    digest: Digest
    owner: Owner
    target: str | None
    precision: str


class LabelProbability(Part):
    """A class and its probability."""

    label: str
    probability: Share


class LabelledImage(Part):
    """The prediction of a classifier; label and probabilities are null if the image was refused."""

    input: str
    label: str | None
    probability: Share | None
    probabilities: dict[str, Share] | None
    top: list[LabelProbability]
    out_of_region: bool | None
    """Null if the network has no check."""
    distance: float | None
    limit: float | None

    @property
    def refused(self) -> bool:
        """Whether the image does not look like the region."""
        return self.label is None


class LabelAnswer(Part):
    """The answer for one label of an image."""

    probability: Share
    threshold: Share | None
    """Null if none could be chosen on validation."""
    answer: Literal["positive", "negative", "uncertain"]
    """Positive from the threshold on; uncertain without a threshold."""


class MultilabelImage(Part):
    """The prediction of a multilabel network; labels are null if the image was refused."""

    input: str
    labels: dict[str, LabelAnswer] | None
    out_of_region: bool | None
    distance: float | None
    limit: float | None

    @property
    def refused(self) -> bool:
        """Whether the image does not look like the region."""
        return self.labels is None


class StructureSize(Part):
    """Size of a structure: pixels, or voxels and millilitres."""

    pixels: int | None = None
    voxels: int | None = None
    ml: float | None = None


class StructureStatistics(Part):
    """Volume and intensity of a structure in a volume."""

    voxels: int
    ml: float | None
    """Null if the file does not state the size of its voxels."""
    mean_value: float | None
    """Mean of the values of the file; null if the structure is empty."""


class ImageStatistics(Part):
    """Volume and intensity of each structure of a volume."""

    unit: str | None
    """Unit of means, such as HU; null if the file states none."""
    structures: dict[str, StructureStatistics]


class VolumeCosts(Part):
    """What a volume took that a network answers window by window."""

    windows: int
    batch: int
    """Windows at once, planned from the memory."""
    stage_seconds: dict[str, float]
    """By stage: read, resample, windows, network, blend, inverse_resample, argmax, write."""
    predicted_peak_mib: float
    """Of the whole process, before the volume was read."""
    peak_mib: float
    """As measured."""


class RegionAnswer(Part):
    """Whether an image looks like one of several regions; without structures of that region if it does not."""

    out_of_region: bool | None
    """Null if the network has no check."""
    distance: float | None
    limit: float | None
    refused: bool


class SegmentedImage(Part):
    """The prediction of a segmentation network; structures and mask are null if the image was refused."""

    input: str
    mask: str | None
    size: list[int]
    structures: dict[str, StructureSize] | None
    out_of_region: bool | None
    distance: float | None
    limit: float | None
    masks: dict[str, str] | None = None
    """Of structures that overlap, in a format without layers: a file by structure."""
    preview: str | None = None
    """The picture of slices along three axes."""
    statistics: ImageStatistics | None = None
    regions: dict[str, RegionAnswer] | None = None
    """With several regions: whether the image looks like each of them."""
    contested: int | None = None
    """With several regions: voxels that two or more of them claim; the region that is named first has them."""
    case_costs: VolumeCosts | None = None
    """Of a volume that the network takes window by window."""

    @property
    def refused(self) -> bool:
        """Whether the image does not look like the region."""
        return self.structures is None


HeadAnswer = LabelledImage | MultilabelImage | SegmentedImage
"""The answer of one head."""


class RoutedImage(Part):
    """The prediction of a network that is not told the region; region and prediction are null without an answer."""

    input: str
    region: str | None
    confidence: Share
    """Of the region; below the network's limit there is no answer."""
    region_probabilities: dict[str, Share]
    prediction: HeadAnswer | None
    head_answers: dict[str, HeadAnswer] | None = None
    """With head policy `all-heads`: the answer of every head."""

    @property
    def refused(self) -> bool:
        """Whether the image does not look like any region."""
        return self.prediction is None


PredictedImage = HeadAnswer | RoutedImage


class PredictedRegion(Part):
    """One of several regions that were predicted together."""

    region: str
    classes: list[str]
    network: PredictingNetwork


class MaskValue(Part):
    """What a value of masks means; where structures overlap, value 1 is the lowest bit."""

    value: int
    structure: str
    region: str


class PredictDocument(Document):
    """Predictions of `decompose predict`.

    With several regions, `region` has their names, `classes` the structures of all of them, and `network` is null.
    """

    kind: Literal["prediction"] = "prediction"
    not_for_diagnosis: Literal[True]
    synthetic: bool
    region: str
    task: str
    classes: list[str]
    network: PredictingNetwork | None
    flips: bool = False
    """Whether logits are means over an image and its mirror image."""
    fast: bool = False
    """Whether volumes were taken at twice the spacing of the network, which nothing has judged."""
    predicted_regions: list[PredictedRegion] | None = None
    """With several regions: each with its network, in order of precedence."""
    mask_values: list[MaskValue] | None = None
    """Of masks: what their values mean."""
    predictions: list[PredictedImage]


class CaseStatistics(ImageStatistics):
    """The statistics of one volume; structures are empty if it was refused."""

    input: str


class StatisticsDocument(Document):
    """`statistics.json` of `predict --statistics`."""

    kind: Literal["statistics"] = "statistics"
    not_for_diagnosis: Literal[True]
    synthetic: bool
    region: str
    network: PredictingNetwork | None
    """Null with several regions; `predictions.json` has their networks."""
    volumes: list[CaseStatistics]
