"""The student's section: weights count by their content, and a key map needs weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from lorkit.decompose.artifacts import digest_file
from lorkit.decompose.config import config_digest, default_config
from lorkit.decompose.config.student import StudentConfig, student_weights_digest
from lorkit.decompose.errors import DataError, UsageError


def test_weights_count_by_their_content_and_not_by_their_place(tmp_path: Path) -> None:
    one, two = tmp_path / "a.pth", tmp_path / "b.pth"
    for path in (one, two):
        path.write_bytes(b"\x80the same")
    digests = [config_digest(default_config(overrides=[f"student.weights={path}"])) for path in (one, two)]
    assert digests[0] == digests[1] != config_digest(default_config())
    two.write_bytes(b"\x80another")
    assert config_digest(default_config(overrides=[f"student.weights={two}"])) != digests[0]
    assert student_weights_digest(StudentConfig(weights=str(two))) == digest_file(two)
    assert student_weights_digest(StudentConfig()) is None


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"student.weights: no file .*absent.pth; .* set null"):
        student_weights_digest(StudentConfig(weights=str(tmp_path / "absent.pth")))
    with pytest.raises(DataError, match=r'is a directory; .* name .*model.safetensors and set student.key_map: {"back'):
        student_weights_digest(StudentConfig(weights=str(tmp_path)))
    with pytest.raises(UsageError, match=r"no student.key_map without student.weights"):
        default_config(overrides=['student.key_map={"module.": ""}'])
