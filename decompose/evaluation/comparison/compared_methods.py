"""The methods of a comparison: as configured, and variants with their own settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorkit.decompose.artifacts import digest_json
from lorkit.decompose.config import Config, config_digest, with_overrides
from lorkit.decompose.config.training import Balancer
from lorkit.decompose.data.readers.registry import expected_task
from lorkit.decompose.documents.compare import CompareDocument, MethodRow
from lorkit.decompose.errors import MissingRuntimeError, UsageError, unknown
from lorkit.decompose.events import Listener, Notice, ignore
from lorkit.decompose.methods import METHODS, get_method
from lorkit.decompose.methods.base import SetsBalancer
from lorkit.decompose.methods.baselines.balancers import check_balancer
from lorkit.decompose.methods.graphs.base import FittedBaseline, refuse_images
from lorkit.decompose.methods.ragformer import ABLATIONS, ablation_settings
from lorkit.decompose.methods.student import student_notices, with_cached_weights
from lorkit.decompose.regions import NODE
from lorkit.decompose.training.foundation.further_teachers import with_used_teachers
from lorkit.decompose.training.foundation.random_teacher import REVISION
from lorkit.decompose.training.gradients.balancing import balancer_settings
from lorkit.decompose.training.loop.compiling import check_compiler
from lorkit.decompose.training.loop.devices import device_of

FOUNDATION = "foundation"
OF_IMAGES = ("stl", "mtl", "lorkd")
OF_GRAPHS = ("trees-tokens", "trees-own", "mlp-own", "gcn", "rgcn", "gaga", "ragformer")
"""Methods that are compared unless others are named; the first one is the baseline of the printed differences."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# a comma inside brackets belongs to the value
_COMMA = re.compile(r",(?![^{\[]*[}\]])")
# shared by all methods: data, split, teacher, seeds and the machine
_SHARED = ("name", "method", "seed", "image", "graph", "regions", "split", "foundation", "cache", "privacy")
_SHARED_TRAIN = ("precision", "accelerator", "devices", "num_nodes", "strategy", "patience")
SHARED = OF_IMAGES[0]
"""The method in the settings that all methods share; it decides nothing."""


@dataclass(frozen=True, kw_only=True)
class ComparedMethod:
    """One method of a comparison.

    Attributes:
        label: Its name in tables.
        config: Settings with its method.
        settings: `a.b=c` settings of a variant.
        random_teacher: Whether a random network of the foundation's architecture teaches; see `random_teacher`.
    """

    label: str
    config: Config
    settings: tuple[str, ...] = ()
    random_teacher: bool = False

    @property
    def digest(self) -> str:
        """Digest of its settings without the seed: methods with the same digest share their cells."""
        return self.digest_of(0)

    @property
    def row(self) -> MethodRow:
        """Its row in the document."""
        row = MethodRow(label=self.label, method=self.config.method, settings=list(self.settings), digest=self.digest)
        return row.with_changes(random_teacher=True) if self.random_teacher else row

    @property
    def uses_unlabelled(self) -> bool:
        """Whether it learns from images without labels, where there are some."""
        return get_method(self.config.method).uses_teacher and self.config.unlabelled.share > 0

    def digest_of(self, seed: int) -> str:
        """Return the digest of a training with a seed."""
        settings = settings_digest(self.config.model_copy(update={"seed": seed}))
        return digest_json({"settings": settings, "random_teacher": REVISION}) if self.random_teacher else settings


def settings_digest(config: Config) -> str:
    """Return the digest of the settings of a training, and of the constants of its gradient balancer or of its fit."""
    method, settings = get_method(config.method), config_digest(config)
    if isinstance(method, FittedBaseline):
        return digest_json({"settings": settings, "constants": method.constants()})
    balancer = balancer_settings(_balancer(config))
    return digest_json({"settings": settings, "balancer": balancer}) if balancer else settings


def _balancer(config: Config) -> Balancer:
    method = get_method(config.method)
    return method.balancer if isinstance(method, SetsBalancer) else config.train.balancer


def check_available(methods: Sequence[ComparedMethod]) -> list[str]:
    """Check before the first cell that all methods can run here, and return notices for the user.

    Raises:
        MissingRuntimeError: Libraries are missing; one line names all of them.
        UsageError: A gradient balancer does not support this precision, or a method several teachers.
    """
    notices: list[str] = []
    missing: dict[str, MissingRuntimeError] = {}
    for compared in methods:
        try:
            method = get_method(compared.config.method)
            with_used_teachers(compared.config, method, ignore)  # raises if it cannot use them
            notices += method.notices(compared.config)
            notices += student_notices(compared.config, method)
            check_balancer(_balancer(compared.config), compared.config.train)
            if compared.config.train.compile:
                check_compiler(device_of(compared.config.train))
        except MissingRuntimeError as error:
            missing.setdefault(str(error), error)
    if missing:
        parts = [[getattr(error, name) for error in missing.values()] for name in ("given", "required", "fix")]
        given, required, fix = ("; ".join(dict.fromkeys(texts)) for texts in parts)
        raise MissingRuntimeError(given, required=required, fix=fix)
    return list(dict.fromkeys(notices))


def shared_settings(config: Config, on_event: Listener) -> Config:
    """Return the settings that all methods share, without early stopping, which gives them unequal steps."""
    update: dict[str, Any] = {"method": SHARED}
    if config.train.patience is not None:
        text = "train.patience has no effect in a comparison: every method trains the same number of steps"
        on_event(Notice(text=text))
        update["train"] = config.train.model_copy(update={"patience": None})
    return config.model_copy(update=update)


def of_graphs(config: Config) -> bool:
    """Return whether the regions of a configuration are graphs."""
    return expected_task(config) == NODE


def compared_methods(config: Config, names: Sequence[str] | None, variants: Sequence[str] = ()) -> list[ComparedMethod]:
    """Return the methods of a comparison, plain `names` first.

    `variants` are `LABEL:METHOD:key=value,key=value`; `config` has the settings that all methods share. Without names
    the methods are `OF_IMAGES` or, of graphs, `OF_GRAPHS`.

    Raises:
        UsageError: An unknown method, one for graphs where regions are images, a repeated label, a malformed variant,
            or one that changes a setting that all methods must share.
    """
    graphs = of_graphs(config)
    names = (OF_GRAPHS if graphs else OF_IMAGES) if names is None else names
    methods = [_named(config, name) for name in names] + [_variant(config, text) for text in variants]
    for compared in methods:
        method = get_method(compared.config.method)
        if method.of_graphs and not graphs:
            raise refuse_images(method)
    labels = [compared.label for compared in methods]
    if not labels or len(set(labels)) != len(labels):
        given = f"--methods {','.join(names)}" + "".join(f" --variant {text}" for text in variants)
        raise UsageError(given, required="one or more distinct values", fix="correct the list")
    return methods


def earlier_methods(document: Path, methods: Sequence[ComparedMethod]) -> list[MethodRow]:
    """Return the methods of earlier calls that are not in this one.

    Raises:
        UsageError: One of them has a label of this call with other settings.
    """
    stored = CompareDocument.read(document).arms if document.is_file() else []
    asked = {compared.label: compared for compared in methods}
    for earlier in stored:
        compared = asked.get(earlier.label)
        # equal settings with another digest: the method's constants have changed since, so old cells are ignored
        same = compared is not None and (compared.config.method, list(compared.settings)) == (
            earlier.method,
            earlier.settings,
        )
        if compared is not None and compared.digest != earlier.digest and not same:
            settings = ",".join(earlier.settings) or "no settings"
            raise UsageError(
                f"label '{compared.label}' is {earlier.method} with {settings} in {document.parent}",
                required="one method and settings per label",
                fix="give the variant another label",
            )
    return [earlier for earlier in stored if earlier.label not in asked]


def has_own_name(label: str) -> bool:
    """Return whether a label is the name of a method or ablation, which no variant can have."""
    return label in METHODS or label in ABLATIONS


def _named(config: Config, name: str) -> ComparedMethod:
    if name in ABLATIONS:
        settings = ablation_settings(name, config.student.backbone)
        config = with_overrides(config, settings, method="ragformer")
        return ComparedMethod(label=name, config=config, settings=settings)
    if name not in METHODS:
        raise unknown("method", name, [*METHODS, *ABLATIONS])
    return ComparedMethod(label=name, config=with_overrides(config, method=name))


def _variant(config: Config, text: str) -> ComparedMethod:
    label, _, rest = text.partition(":")
    method, _, values = rest.partition(":")
    if not _LABEL.fullmatch(label) or not method or label == FOUNDATION:
        raise UsageError(
            f"--variant {text}",
            required=f"LABEL:METHOD:key=value,key=value with a label that is not '{FOUNDATION}'",
            fix="as in --variant rank4:lorkd:lorkd.rank=4",
        )
    get_method(method)
    if has_own_name(label):
        raise UsageError(
            f"--variant {text}: '{label}' is the name of a method",
            required="another label: the name of a method is the method as configured",
            fix=f"name it, as in {method}-2",
        )
    settings = tuple(part.strip() for part in _COMMA.split(values) if part.strip())
    for setting in settings:
        section, _, key = setting.partition("=")[0].strip().partition(".")
        if section in _SHARED or (section == "train" and key in _SHARED_TRAIN):
            raise UsageError(
                f"--variant {label} changes {setting.partition('=')[0]}",
                required="settings of the method, the student or its training: all others are the same for all methods",
                fix="change it for all with --set, or make two comparisons",
            )
    own = with_cached_weights(with_overrides(config, settings, method=method))
    if own.teachers not in ((), config.teachers):
        raise UsageError(
            f"--variant {label} changes teachers",
            required="the teachers of all methods, or none of them with teachers=[]",
            fix="change them for all with --set, or make two comparisons",
        )
    return ComparedMethod(label=label, config=own, settings=settings)
