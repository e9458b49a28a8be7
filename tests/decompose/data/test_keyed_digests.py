from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lorkit.decompose.artifacts.keys import KEY_FILE, DirectoryKey
from lorkit.decompose.data.keyed_digests import KeyedCases, check_key, data_file, digest_cases, keyed_digests
from lorkit.decompose.errors import DataError

PLAIN = [hashlib.sha256(bytes([number])).hexdigest() for number in range(6)]


@pytest.fixture
def two(tmp_path: Path, own_keys: None) -> tuple[DirectoryKey, DirectoryKey]:
    """Two directories with keys of their own."""
    return DirectoryKey(tmp_path / "one", create=True), DirectoryKey(tmp_path / "two", create=True)


def test_a_digest_depends_on_the_key_and_the_case_alone(two: tuple[DirectoryKey, DirectoryKey]) -> None:
    one, other = (keyed_digests(PLAIN, key) for key in two)
    assert len({*one, *other, *PLAIN}) == 18
    assert keyed_digests(PLAIN[3:], DirectoryKey(two[0].path.parent)) == one[3:]
    assert two[0].name != two[1].name
    assert two[0].name not in (two[0].path.read_text(), *one)


def test_the_digest_of_a_set_has_no_order_and_needs_the_key(two: tuple[DirectoryKey, DirectoryKey]) -> None:
    targets = list("ababab")
    rows = "\n".join(sorted(f"{digest}\t{target}" for digest, target in zip(PLAIN, targets, strict=True)))
    found = digest_cases(PLAIN, targets, two[0])
    assert found == digest_cases(PLAIN[::-1], targets[::-1], two[0])
    assert found not in (
        hashlib.sha256(rows.encode()).hexdigest(),
        digest_cases(PLAIN, targets, two[1]),
        digest_cases(PLAIN, targets[::-1], two[0]),
        digest_cases(PLAIN[1:], targets[1:], two[0]),
    )


def test_sets_of_several_keys_are_asked_by_plain_digests(two: tuple[DirectoryKey, DirectoryKey]) -> None:
    known = KeyedCases({two[0]: keyed_digests(PLAIN[:2], two[0]), two[1]: keyed_digests(PLAIN[2:3], two[1])})
    assert [digest in known for digest in PLAIN] == [True, True, True, False, False, False]
    assert len(known) == 3
    assert keyed_digests(PLAIN[:1], two[0])[0] not in known


def test_cases_of_another_key_are_refused(two: tuple[DirectoryKey, DirectoryKey]) -> None:
    document = {"keys": {"chest": two[0].name}}
    check_key(document, "chest", two[0])
    for region, key in (("chest", two[1]), ("chest", DirectoryKey(two[0].path.parent.parent)), ("knee", two[0])):
        with pytest.raises(DataError, match=rf"another key.*{KEY_FILE}.*--data"):
            check_key(document, region, key)


def test_a_file_has_a_digest_only_if_the_key_lasts(two: tuple[DirectoryKey, DirectoryKey], tmp_path: Path) -> None:
    path = tmp_path / "cases.npz"
    path.write_bytes(b"cases")
    assert data_file(path, two[0]).digest is None
    assert two[0].name
    assert data_file(path, two[0]).digest not in (None, hashlib.sha256(b"cases").hexdigest())
    assert data_file(tmp_path, two[0]).digest is None
