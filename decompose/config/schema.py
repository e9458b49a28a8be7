"""The sections of `decompose.yaml` as frozen pydantic models: every key, its bounds and its default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from lorkit.decompose.config import methods
from lorkit.decompose.config.base import Count, Finite, Positive, Section, Side, as_list, as_square
from lorkit.decompose.config.foundation import FoundationConfig
from lorkit.decompose.config.graphs import GraphConfig, Hops
from lorkit.decompose.config.regions import RegionConfig
from lorkit.decompose.config.student import StudentConfig
from lorkit.decompose.config.training import TrainConfig
from lorkit.decompose.config.unlabelled import UnlabelledConfig
from lorkit.decompose.regions import check_region_name

SEEDS = 2**31
"""Seeds are at least 0 and below this."""


class ImageConfig(Section):
    """The network's input: size, channels, and the normalisation (x - mean) / std.

    `size` is (height, width) of 2D images, or three sides in voxels of volumes, in the order of the array's axes. Its
    length decides how arrays of four axes are read: (N, H, W, 3) images, or (N, D, H, W) volumes.

    Graphs have no images: training fills this section in from the data, with `nodes` and the shape of a node's input,
    groups as channels and (relations, hops + 1, features + 1) as size.
    """

    nodes: bool = False
    size: Annotated[tuple[Side, Side] | tuple[Side, Side, Side], BeforeValidator(as_square)] = (64, 64)
    channels: Count = 3
    mean: tuple[Finite, ...] = ()
    std: tuple[Positive, ...] = ()

    @classmethod
    def of_nodes(cls, shape: tuple[int, int, int, int]) -> ImageConfig:
        """Return the section for inputs of nodes of this shape, which the network does not normalise."""
        groups, relations, hops, values = shape
        return cls(
            nodes=True, size=(relations, hops, values), channels=groups, mean=(0.0,) * groups, std=(1.0,) * groups
        )

    @model_validator(mode="after")
    def _bounded(self) -> ImageConfig:
        if self.nodes:
            if len(self.size) != 3 or min(self.size) < 1:
                raise ValueError("size of relations, hops + 1 and features + 1 for nodes")
            return self
        most = 4096 if len(self.size) == 2 else 512
        if min(self.size) < 8 or max(self.size) > most:
            raise ValueError(f"each side of size between 8 and {most} {'pixels' if len(self.size) == 2 else 'voxels'}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels 1 or 3, not {self.channels}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _fill_normalisation(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        channels = values.get("channels", 3)
        filled = {"mean": (0.5,) * channels, "std": (0.25,) * channels} if channels in (1, 3) else {}
        return {**filled, **{key: value for key, value in values.items() if value != () or key not in filled}}

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> ImageConfig:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"one {name} a channel ({self.channels}), not {len(values)}")
        return self


class SplitConfig(Section):
    """Fractions of groups (patients) held out for validation and test.

    Nodes of graphs are split as their file states, else at random into 40 % for training, 10 % for validation and 50 %
    for test, as published results are. `by` chooses what a deployed model meets: new entities (`entity`: no key of
    `entities`, by default the first relation, is in two parts), later rows (`temporal`), or new neighbourhoods
    (`neighbour`: no test node has a training node within `hops` of it, by default those of `graph.hops`, so that it
    sees no training label). `random` ignores the parts that a file states.
    """

    val: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.15
    by: Literal["group", "random", "entity", "temporal", "neighbour"] = "group"
    entities: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    hops: Hops | None = None

    @model_validator(mode="after")
    def _something_to_train_on(self) -> SplitConfig:
        if self.val + self.test >= 0.9:
            raise ValueError("val + test below 0.9, so that training data are left")
        if self.entities and self.by != "entity":
            raise ValueError(f"split.by entity with split.entities, not {self.by}")
        if self.hops is not None and self.by != "neighbour":
            raise ValueError(f"split.by neighbour with split.hops, not {self.by}")
        return self


class CacheConfig(Section):
    """Cache of a frozen teacher's features on disk: at most `budget` MiB, in `dtype`, below `directory`.

    A null `directory` is `foundations/features/` beside the runs, shared by all runs, seeds and comparisons there.
    """

    enabled: bool = False
    budget: Positive = 2048.0
    dtype: Literal["fp32", "fp16", "bf16"] = "fp32"
    directory: str | None = None


class PrivacyConfig(Section):
    """Whether pixels may enter reports and sample files; `phantom` allows only drawn images."""

    embed_images: bool | Literal["phantom"] = "phantom"


class Config(Section):
    """All of `decompose.yaml`, resolved."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "run"
    method: str = "lorkd"
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    image: ImageConfig = ImageConfig()
    graph: GraphConfig = GraphConfig()
    regions: Annotated[dict[str, RegionConfig], Field(min_length=1)]
    split: SplitConfig = SplitConfig()
    foundation: FoundationConfig = FoundationConfig()
    teachers: tuple[FoundationConfig, ...] = ()
    student: StudentConfig = StudentConfig()
    train: TrainConfig = TrainConfig()
    cache: CacheConfig = CacheConfig()
    unlabelled: UnlabelledConfig = UnlabelledConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    lorkd: methods.LorkdConfig = methods.LorkdConfig()
    mola: methods.MolaConfig = methods.MolaConfig()
    mmoe: methods.MmoeConfig = methods.MmoeConfig()
    lora: methods.LoraConfig = methods.LoraConfig()
    rd: methods.RdConfig = methods.RdConfig()
    kd: methods.KdSection = methods.KdSection()
    fitnet: methods.FitnetConfig = methods.FitnetConfig()
    rkd: methods.RkdConfig = methods.RkdConfig()
    sp: methods.SpConfig = methods.SpConfig()
    dist: methods.DistConfig = methods.DistConfig()
    cka: methods.AlignmentConfig = methods.AlignmentConfig()
    skd: methods.SkdConfig = methods.SkdConfig()
    cwd: methods.CwdConfig = methods.CwdConfig()
    _base: Path = PrivateAttr(default=Path("."))

    @property
    def base(self) -> Path:
        """Directory for the relative paths of this configuration."""
        return self._base

    @property
    def foundation_image(self) -> ImageConfig:
        """Image settings of the foundation: `foundation.image`, with `image` for omitted keys."""
        stated = {} if self.foundation.image is None else self.foundation.image.model_dump(exclude_none=True)
        if not stated:
            return self.image
        shared = {"size", "channels"}
        if stated.get("channels", self.image.channels) == self.image.channels:
            shared |= {"mean", "std"}
        return ImageConfig.model_validate({**self.image.model_dump(include=shared), **stated})

    @property
    def _foundations(self) -> dict[str, FoundationConfig]:
        return {"foundation": self.foundation} | {f"teachers.{at}": one for at, one in enumerate(self.teachers)}

    def of_teacher(self, index: int) -> Config:
        """Return the settings with a further teacher in place of the foundation, and no others."""
        return self.model_copy(update={"foundation": self.teachers[index], "teachers": ()})

    @property
    def deployed_image(self) -> ImageConfig:
        """Image settings of the deployed network: those of the foundation if the method deploys it."""
        return self.foundation_image if self.method in methods.OF_FOUNDATION else self.image

    @field_validator("regions")
    @classmethod
    def _valid_names(cls, regions: dict[str, RegionConfig]) -> dict[str, RegionConfig]:
        for name in regions:
            check_region_name(name)
        return regions

    @model_validator(mode="after")
    def _neighbours_that_nodes_see(self) -> Config:
        """State how far apart a split by neighbours is: as far as nodes see labels of each other."""
        if self.split.by == "neighbour" and self.split.hops is None:
            hops = self.graph.hops_of(keys=False)
            self.__dict__["split"] = self.split.model_copy(update={"hops": hops})
        return self

    @model_validator(mode="after")
    def _known_regions(self) -> Config:
        named = {"lorkd.ranks": tuple(self.lorkd.ranks), "mola.ranks": tuple(self.mola.ranks)}
        named["rd.hidden"] = tuple(self.rd.hidden) if isinstance(self.rd.hidden, dict) else ()
        for key, section in self._foundations.items():
            if section.regions != "all":
                named[f"{key}.regions"] = section.regions
        for key, names in named.items():
            for name in names:
                if name not in self.regions:
                    raise ValueError(f"{key} to name regions of this file ({', '.join(self.regions)}), not '{name}'")
        return self

    @model_validator(mode="after")
    def _volumes_at_a_spacing(self) -> Config:
        named = next((name for name, one in self.regions.items() if one.spacing is not None), None)
        if named is not None and len(self.image.size) != 3:
            raise ValueError(f"image.size with three sides, because region '{named}' has a spacing")
        if named is not None and self.cache.enabled:
            raise ValueError(f"cache.enabled false: windows of region '{named}' differ in every pass")
        return self

    @model_validator(mode="after")
    def _fitting_foundation(self) -> Config:
        for key, section in self._foundations.items():
            stated = section.image
            if stated is None:
                continue
            if stated.size is not None and len(stated.size) != len(self.image.size):
                raise ValueError(f"{key}.image.size with as many sides as image.size ({len(self.image.size)})")
            if stated.size not in (None, self.image.size) and any(one.spacing for one in self.regions.values()):
                raise ValueError(f"{key}.image.size equal to image.size, because both networks take the same windows")
            channels = stated.channels or self.image.channels
            if stated.mean is not None and len(stated.mean) != channels:
                raise ValueError(f"{key}.image: one mean per channel ({channels}), not {len(stated.mean)}")
        return self

    @model_validator(mode="after")
    def _buildable_teachers(self) -> Config:
        for index, section in enumerate(self.teachers):
            if section.is_onnx:
                raise ValueError(
                    f"no ONNX file as teachers.{index}: further teachers are networks that lorkit builds; "
                    "an ONNX file can be the foundation"
                )
        return self
