"""Base classes of the documents of all commands: strict keys, a version and a kind, JSON output and input."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from lorkit.decompose.artifacts import SEAL, digest_json, read_json, write_json
from lorkit.decompose.documents.html import document_table
from lorkit.decompose.documents.problems import DIGEST, to_artifact_error
from lorkit.decompose.errors import ArtifactError


def finite_or_none(value: object) -> object:
    """Return a value, None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rising(ends: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of an interval; raise ValueError if the lower one is above the other."""
    if ends[0] > ends[1]:
        raise ValueError("a lower end that is not above the upper one")
    return ends


Digest = Annotated[str, Field(pattern=DIGEST)]
"""SHA-256 as hexadecimal text."""
Share = Annotated[float, Field(ge=0, le=1)]
"""A fraction, never a percentage."""
Places = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
"""So many cases, or a share of them."""
PathText = Annotated[Path, WithJsonSchema({"type": "string"})]
"""A path; a string in JSON."""
Measured = Annotated[float | None, BeforeValidator(finite_or_none)]
"""A measured number; null where it is NaN or infinite, which JSON cannot state."""
Interval = Annotated[tuple[float, float], AfterValidator(rising)]
"""Lower and upper end, of 95 % unless stated otherwise."""
Verdict = Literal["pass", "fail", "inconclusive"]
Owner = Literal["expert", "foundation", "student"]
Tools = dict[str, str | None]
"""Versions of libraries by name; null if not installed."""
P = TypeVar("P", bound="Part")
M = TypeVar("M", bound=BaseModel)


class Part(BaseModel):
    """A part of a document: unknown keys are refused, and values are frozen.

    A key with a default is omitted from JSON unless it was set.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,  # a command reads and writes few of the documents that its modules define
    )

    def to_json(self) -> dict[str, Any]:
        """Return plain data, keys in the order of the fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def with_changes(self, **values: object) -> Self:
        """Return a copy with other values, which are not validated."""
        return self.model_copy(update=values)

    def without(self, *names: str) -> Self:
        """Return a copy without some keys."""
        return type(self).model_validate({name: getattr(self, name) for name in self.model_fields_set - {*names}})


class TeacherRow(Part):
    """One of several teachers of a run, the foundation first."""

    backbone: str
    digest: Digest
    """Of its weights."""
    val_scores: dict[str, float]
    """Its score on validation, by region."""
    share: dict[str, Share]
    """Its share of the terms of teachers, by region."""


class Document(Part):
    """A document of a command, as `--json` prints it and artifacts hold it."""

    schema_version: Literal[1] = 1
    kind: str
    warnings: list[str] = []

    def model_post_init(self, context: object) -> None:
        """Mark the head of a document as set, since every document states it."""
        self.model_fields_set.update(("schema_version", "kind", "warnings"))

    @classmethod
    def read(cls, path: Path, *, fix: str = "build it again") -> Self:
        """Read a document.

        Raises:
            ArtifactError: It is missing, of another kind or version, invalid, or has another seal than its content.
        """
        document = read_json(path, kind=cls.model_fields["kind"].default)
        take_seal(document, path)
        return parse(cls, document, path, fix=fix)

    def write(self, path: Path, *, sealed: bool = False) -> None:
        """Write a document atomically; `sealed`: with its digest, for files that no manifest lists."""
        document = self.to_json()
        write_json(path, document | ({SEAL: digest_json(document)} if sealed else {}))

    def _repr_html_(self) -> str:
        """Return small tables of it for notebooks."""
        return document_table(self.to_json())


class ErrorDocument(Document):
    """What `--json` prints when an error ends a command."""

    kind: Literal["error"] = "error"
    exit_code: int
    message: str
    """One line: what was given, what is required, and what to do."""


def take_seal(document: dict[str, Any], path: Path) -> bool:
    """Take the seal out of a measurement that was read from a file, and return whether it had one.

    Raises:
        ArtifactError: It is that of another content.
    """
    seal = document.pop(SEAL, None)
    if seal is not None and seal != digest_json(document):
        raise ArtifactError(
            f"{path} was changed after it was measured", required="what was measured", fix="restore it, or remove it"
        )
    return seal is not None


def parse(model: type[M], value: object, where: Path | str, *, fix: str = "build it again") -> M:
    """Validate plain data as a part of a document, or as another model.

    Raises:
        ArtifactError: A key is missing, unknown or invalid; the message names the first one.
    """
    try:
        # strictly and as JSON: "no" is no boolean and "0.5" no number, and yet a list is a tuple
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise to_artifact_error(error, value, where, fix) from None


def narrow(model: type[P], part: Part) -> P:
    """Return a part as a smaller model, with only its keys."""
    return model.model_validate(
        {name: getattr(part, name) for name in model.model_fields if name in part.model_fields_set}
    )


def combine(model: type[P], *parts: Part, **values: object) -> P:
    """Build a part from the keys of others and further values."""
    stated = {name: getattr(part, name) for part in parts for name in part.model_fields_set}
    return model.model_validate({**stated, **values})
