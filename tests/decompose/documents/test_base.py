from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from lorkit.decompose.artifacts import write_json
from lorkit.decompose.documents.base import Digest, Document, Interval, Part, Share, narrow, parse
from lorkit.decompose.documents.evaluate import RegionShare
from lorkit.decompose.errors import ArtifactError


class Row(Part):
    """A row."""

    name: str
    ci: Interval | None
    note: str | None = None


class Turn(Part):
    """A step."""

    op: Literal["turn"]
    angle: float


class Cut(Part):
    """Another step."""

    op: Literal["cut"]


class Limit(Part):
    """A limit."""

    version: Literal[1, 2]
    limit: float


class MeasuredLimit(Limit):
    """A limit with its rates."""

    rate: float
    n: int


class Sheet(Document):
    """A sheet."""

    kind: Literal["sheet"] = "sheet"
    rows: list[Row]
    digest: Digest | None = None
    shape: Annotated[list[int], Field(min_length=2, max_length=3)] | None = None
    step: Annotated[Turn | Cut, Field(discriminator="op")] | None = None
    limit: Limit | MeasuredLimit | None = None
    baseline: str | float = 0.0
    share: Share = 0.0


def test_a_document_survives_the_disk_and_leaves_out_what_was_not_set(tmp_path: Path) -> None:
    sheet = Sheet(rows=[Row(name="a", ci=(0.0, 1.0)), Row(name="b", ci=None, note=None)])
    assert sheet.to_json() == {
        "schema_version": 1,
        "kind": "sheet",
        "warnings": [],
        "rows": [{"name": "a", "ci": [0.0, 1.0]}, {"name": "b", "ci": None, "note": None}],
    }
    sheet.write(tmp_path / "sheet.json")
    assert Sheet.read(tmp_path / "sheet.json") == sheet
    assert Sheet.read(tmp_path / "sheet.json").to_json() == sheet.to_json()
    assert sheet.with_changes(digest="0" * 64).to_json()["digest"] == "0" * 64


def test_values_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Row(name="a", ci=None).name = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"ci": None}], "here lacks rows.0.name; required: every key"),
        ([{"name": "a", "ci": None, "size": 3}], "here has the unknown key rows.0.size; required: no other key"),
        ([{"name": 3, "ci": None}], "here states rows.0.name as 3; required: text"),
        (["a"], 'here states rows.0 as "a"; required: an object'),
        ([{"name": "a", "ci": [1.0, float("nan")]}], r"here states rows.0.ci.1 as NaN; required: a finite number"),
    ],
)
def test_the_first_wrong_key_is_named_in_one_line(rows: object, says: str) -> None:
    with pytest.raises(ArtifactError, match=says) as caught:
        parse(Sheet, {"rows": rows}, "here", fix="write it again")
    assert str(caught.value).endswith("write it again")
    assert "\n" not in str(caught.value)


OTHER_VERSION = "use the lorkit version that wrote it, or build it again"
MEASURED = {"version": 1, "limit": 1.0, "rate": 0.5, "n": 2}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"digest": "0"}, 'states digest as "0"; required: a SHA-256 as 64 hexadecimal digits; build it again'),
        ({"shape": [1, 2, 3, 4]}, "states shape with 4 entries; required: at most 3 entries; build it again"),
        ({"shape": [1]}, "states shape with 1 entry; required: at least 2 entries; build it again"),
        ({"shape": [1, 2.5]}, "states shape.1 as 2.5; required: a whole number; build it again"),
        ({"share": 2}, "states share as 2; required: at most 1; build it again"),
        ({"baseline": None}, "states baseline as null; required: text or a number; build it again"),
        ({"rows": 3 * ["long" * 9]}, 'states rows.0 as "' + 9 * "long" + '"; required: an object; build it again'),
        ({"rows": "x" * 99}, 'states rows as "' + 79 * "x" + "…; required: a list; build it again"),
        ({"step": {"op": "foo"}}, "states step.op as \"foo\"; required: one of 'turn', 'cut'; build it again"),
        ({"step": {}}, "lacks step.op; required: every key of its version; build it again"),
        ({"step": {"op": "turn", "angle": "a"}}, 'states step.angle as "a"; required: a number; build it again'),
        ({"step": {"op": "turn"}}, "lacks step.angle; required: every key of its version; build it again"),
        (
            {"step": {"op": "cut", "angle": 1}},
            f"has the unknown key step.angle; required: no other key; {OTHER_VERSION}",
        ),
        ({"limit": MEASURED | {"limit": "a"}}, 'states limit.limit as "a"; required: a number; build it again'),
        ({"limit": MEASURED | {"x": 1}}, f"has the unknown key limit.x; required: no other key; {OTHER_VERSION}"),
        ({"limit": {"version": 1}}, "lacks limit.limit; required: every key of its version; build it again"),
        ({"limit": MEASURED | {"version": 3}}, f"states limit.version as 3; required: 1 or 2; {OTHER_VERSION}"),
        ({"schema_version": 2}, f"states schema_version as 2; required: 1; {OTHER_VERSION}"),
    ],
)
def test_a_wrong_value_is_named_by_keys_and_the_requirement_in_words(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        parse(Sheet, {"rows": [], **wrong}, "here")
    assert str(caught.value) == f"here {says}"


def test_what_is_no_object_is_shown() -> None:
    with pytest.raises(ArtifactError, match=r"^here is \[1\]; required: an object; build it again$"):
        parse(Sheet, [1], "here")


@pytest.mark.parametrize("key", ["schema_version", "size"])
def test_a_file_of_another_version_says_what_wrote_it(tmp_path: Path, key: str) -> None:
    write_json(tmp_path / "sheet.json", {"schema_version": 1, "kind": "sheet", "rows": [], key: 2})
    with pytest.raises(ArtifactError, match=f"{OTHER_VERSION}$"):
        Sheet.read(tmp_path / "sheet.json")


class Flags(Part):
    """Values that other text could be taken for."""

    drawn: bool = True
    share: float = 0.0
    n: int = 0


@pytest.mark.parametrize("wrong", [{"drawn": "no"}, {"drawn": 0}, {"share": "0.5"}, {"share": True}, {"n": "3"}])
def test_text_and_numbers_are_not_taken_for_each_other(wrong: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="sheet states"):
        parse(Flags, wrong, "sheet")
    assert parse(Flags, {"share": 1, "n": 3}, "sheet") == Flags(share=1.0, n=3)


def test_a_smaller_part_takes_its_keys() -> None:
    class Name(Part):
        name: str

    assert narrow(Name, Row(name="a", ci=None)).to_json() == {"name": "a"}


def test_the_ends_of_an_interval_are_in_order() -> None:
    stated = {"n": 3, "right": 0.5, "ci": [0.5, 0.5]}
    assert parse(RegionShare, stated, "a.json").ci == (0.5, 0.5)
    with pytest.raises(ArtifactError, match=r"states ci as \[0.9, 0.1\]; required: a lower end that is not above the"):
        parse(RegionShare, stated | {"ci": [0.9, 0.1]}, "a.json")
