from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from lorkit.decompose.documents.base import Digest, Document, Interval, Part, narrow, parse
from lorkit.decompose.errors import ArtifactError


class Row(Part):
    """A row."""

    name: str
    ci: Interval | None
    note: str | None = None


class Sheet(Document):
    """A sheet."""

    kind: Literal["sheet"] = "sheet"
    rows: list[Row]
    digest: Digest | None = None


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
        ([{"name": 3, "ci": None}], "here states rows.0.name as '3'; required: a valid string"),
        (["a"], "here states rows.0 as 'a'; required: an object"),
        ([{"name": "a", "ci": [1.0, float("nan")]}], r"here states rows.0.ci.1 as 'nan'; required: a finite number"),
    ],
)
def test_the_first_wrong_key_is_named_in_one_line(rows: object, says: str) -> None:
    with pytest.raises(ArtifactError, match=says) as caught:
        parse(Sheet, {"rows": rows}, "here", fix="write it again")
    assert str(caught.value).endswith("write it again")
    assert "\n" not in str(caught.value)


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
