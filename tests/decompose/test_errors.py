from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lorkit.decompose import errors


def test_message_is_one_line_of_three_parts() -> None:
    error = errors.DataError("label 7 in\n a.csv", required="0 to 3", fix="correct the row")
    assert str(error) == "label 7 in a.csv; required: 0 to 3; correct the row"


def test_parts_that_are_not_given_leave_no_gap() -> None:
    assert str(errors.UsageError("no run")) == "no run"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.UsageError, 2),
        (errors.DataError, 4),
        (errors.ArtifactError, 4),
        (errors.ParityError, 4),
        (errors.MissingRuntimeError, 5),
        (errors.StorageError, 6),
        (errors.BusyError, 6),
        (errors.LorkitError, 70),
    ],
)
def test_exit_codes_are_the_published_ones(kind: type[errors.LorkitError], code: int) -> None:
    assert kind.exit_code == code
    assert issubclass(kind, errors.LorkitError)


@pytest.mark.parametrize(
    ("count", "several", "words"), [(0, "", "0 cases"), (1, "", "1 case"), (2, "", "2 cases"), (2, "lot", "2 lot")]
)
def test_one_is_singular(count: int, several: str, words: str) -> None:
    assert errors.plural(count, "case", plural=several) == words


@pytest.mark.parametrize(("noun", "several"), [("entity", "entities"), ("key", "keys"), ("node", "nodes"), ("y", "ys")])
def test_a_noun_in_the_plural(noun: str, several: str) -> None:
    assert errors.plural_of(noun) == several
    assert errors.plural(2, noun) == f"2 {several}"


def test_the_first_line_of_another_librarys_message() -> None:
    assert errors.first_line(RuntimeError("\n  first \nsecond")) == "first"
    assert errors.first_line(RuntimeError("x" * 200)) == "x" * 160
    assert errors.first_line(KeyError()) == "KeyError"


def test_a_message_is_printable_and_not_endless() -> None:
    error = errors.DataError("a\x1b[31m\ud800b\u00e9", required="x" * 5000)
    assert str(error).startswith("a\ufffd[31m\ufffdb\u00e9; required: xxx")
    assert len(str(error)) < 1100


class PanicException(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (
            ValueError("bad\nbytes"),
            "a.x cannot be read (ValueError: bad); required: an intact x; replace it or leave it out",
        ),
        (KeyError(), "a.x cannot be read (KeyError); required"),
        (MemoryError(), "a.x cannot be read (MemoryError); required"),
        (RecursionError("deep"), "a.x cannot be read (RecursionError: deep)"),
        (PanicException("rust"), "a.x cannot be read (PanicException: rust)"),
        (IsADirectoryError(21, "Is a directory"), "a.x cannot be read (Is a directory)"),
        (FileNotFoundError(2, "No such file"), "no file at a.x; required: an intact x; check the path"),
    ],
)
def test_a_boundary_turns_any_exception_into_one_that_names_the_file(raised: BaseException, message: str) -> None:
    @errors.reads("an intact x")
    def read(path: str) -> None:
        raise raised

    with pytest.raises(errors.DataError) as caught:
        read("a.x")
    assert str(caught.value).startswith(message)
    assert caught.value.__cause__ is raised
    with pytest.raises(errors.DataError, match=r"a\.x"):
        errors.reads("an intact x")(lambda entries: read(entries[0]))(["a.x", "b"])


@pytest.mark.parametrize(
    "raised", [errors.UsageError("mine"), KeyboardInterrupt(), SystemExit(3), OSError(5, "I/O error")]
)
def test_a_boundary_leaves_own_errors_interrupts_and_failing_disks_alone(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as caught, errors.refusing_damage("a.x", required="x"):
        raise raised
    assert caught.value is raised


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("Load model from /data/pat/DOE_JOHN/model.onnx failed", "Load model from a file failed"),
        ("cannot read 'C:\\Users\\doe\\ct 1.nii.gz' (bad magic)", "cannot read a file (bad magic)"),
        ("sample 'DOE^JOHN 3' of region 'chest': not finite", "sample (name withheld) of region 'chest': not finite"),
        ("no file at Doe_John.dcm; check the path", "no file at a file; check the path"),
        ("patients/Doe_John/scan holds 3 slices", "a file holds 3 slices"),
        ("run `decompose report`; 3 images/s, 1/2", "run `decompose report`; 3 images/s, 1/2"),
        ("version 1.32.0 of onnxruntime, 0.5 of 3.5 GiB", "version 1.32.0 of onnxruntime, 0.5 of 3.5 GiB"),
        ("two\n lines", "two lines"),
    ],
)
def test_texts_in_artifacts_name_no_file_and_no_patient(text: str, fit: str) -> None:
    assert errors.fit_for_artifact(ValueError(text)) == errors.fit_for_artifact(text) == fit


@given(st.lists(st.from_regex(r"[A-Z][a-z]{3,8}(_[A-Z][a-z]{3,8})?", fullmatch=True), min_size=2, max_size=4))
def test_no_part_of_a_path_is_left(parts: list[str]) -> None:
    name = "/".join(parts)
    for path in (f"/{name}", f"~/{name}", f"../{name}", f"/{name}.nii.gz", f"'{name} 2.dcm'", f"{parts[-1]}.png"):
        found = errors.fit_for_artifact(f"cannot open {path}: damaged (line 3)")
        left = found.removeprefix("cannot open a file").removesuffix("damaged (line 3)")
        assert left in (":", ": "), path


def test_an_error_without_a_text_has_its_type() -> None:
    assert errors.fit_for_artifact(KeyError()) == "KeyError"
