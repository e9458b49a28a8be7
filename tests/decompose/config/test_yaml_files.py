from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from lorkit.decompose.config import load_config, yaml_files
from lorkit.decompose.config.yaml_files import parse_yaml, read_yaml
from lorkit.decompose.errors import UsageError


@pytest.mark.parametrize(
    "text",
    ["a: 1\nb: [1, 2.5, x]\nc: {d: null, e: true}\n", "a: &x [1, 2]\nb: *x\n", "3", "", "a: 2020-01-02", "? a\n: b"],
)
def test_plain_data_are_as_another_loader_reads_them(text: str) -> None:
    assert parse_yaml(text, "here") == yaml.load(text, Loader=yaml.SafeLoader)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "here:1: key 'a' is repeated"),
        ("? [1]\n: 2", "here:1: a key that is no text"),
        ("a:\n- 9" + "9" * 10_000, "here:2: a number of 10001 digits; required: at most 400"),
        ("a: 0x" + "f" * 10_000, "a number of 10002 digits"),
        ("a: " + "1:" * 5000 + "1", "a number of 10001 digits"),
        ("a: " + "b" * 10_001, "a text of 10001 letters"),
        ("[" * 51, "more than 50 sections in each other"),
        ("".join(f"k{at}: 1\n" for at in range(100_000)), "more than 10000 keys in one section"),
        ("a: &a [*a]", "[*]a inside what it names"),
        ("a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)),
         "more than 100000 values by aliases"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 2001-99-99", "month must be in"),
        ("a: 0x_", "invalid literal"),
        ("a: *b", "undefined alias"),
    ],
)  # fmt: skip
def test_what_no_configuration_needs_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_yaml(text, "here")


def test_a_hundred_thousand_keys_take_no_time() -> None:
    text = "".join(f"k{at}: 1\n" for at in range(100_000))
    started = time.process_time()
    with pytest.raises(UsageError, match="more than 10000 keys"):
        parse_yaml(text, "here")
    assert time.process_time() - started < 20  # quadratic checks took minutes


def test_the_number_of_values_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_files, "MOST_NODES", 100)
    assert parse_yaml("[" + "1," * 99 + "]", "here") == [1] * 99
    with pytest.raises(UsageError, match="more than 100 values"):
        parse_yaml("[" + "1," * 100 + "]", "here")


def test_files_that_are_no_mapping_of_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    with pytest.raises(UsageError, match="no configuration at"):
        read_yaml(path)
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\)"):
        read_yaml(tmp_path)
    path.write_bytes(b"\xff\xfea")
    with pytest.raises(UsageError, match="is not text"):
        read_yaml(path)
    path.write_text("- 1")
    with pytest.raises(UsageError, match="holds list"):
        read_yaml(path)
    path.write_text("a: 1")
    assert read_yaml(path) == {"a": 1}
    monkeypatch.setattr(yaml_files, "MOST_BYTES", 3)
    with pytest.raises(UsageError, match="more than 3 bytes; required: at most 3"):
        read_yaml(path)


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="needs a device without an end")
def piped(parts: list[bytes], *, end: bool = True) -> tuple[Path, int]:
    """Return the path of a pipe that holds some bytes, as `<(...)` gives one, and the end that is written to."""
    reading, writing = os.pipe()
    for part in parts:
        os.write(writing, part)
    if end:
        os.close(writing)
    return Path(f"/dev/fd/{reading}"), reading if end else writing


def test_a_pipe_is_read_to_its_end() -> None:
    path, _ = piped([b"name: one\n", b"seed: 3\n"])
    assert read_yaml(path) == {"name": "one", "seed": 3}


def test_paths_of_a_piped_configuration_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    regions = b'name: one\nimage: {size: 32, channels: 1}\nregions: {a: {data: here}, b: {data: "phantom:chest"}}\n'
    path, _ = piped([regions])
    assert load_config(path).regions["a"].data == (str(tmp_path / "here"),)


def test_a_pipe_whose_writer_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(yaml_files, "PIPE_SECONDS", 0.1)
    path, _ = piped([b"name: one\n"], end=False)
    os.mkfifo(tmp_path / "nobody")
    for one in (path, tmp_path / "nobody"):
        with pytest.raises(UsageError, match="is a pipe whose text did not end within"):
            read_yaml(one)


def test_a_pipe_without_end_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_files, "MOST_BYTES", 100)
    path, _ = piped([b"a" * 200], end=False)
    with pytest.raises(UsageError, match="more than 100 bytes"):
        read_yaml(path)


def test_a_device_is_refused() -> None:
    with pytest.raises(UsageError, match="/dev/zero is a device; required: a file"):
        read_yaml(Path("/dev/zero"))
