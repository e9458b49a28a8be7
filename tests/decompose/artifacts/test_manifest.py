import json
import pickle
from pathlib import Path

import pytest
import safetensors
import torch

from lorkit.decompose.artifacts import files, manifest
from lorkit.decompose.errors import ArtifactError


def make(directory: Path, kind: str = "run", **options: object) -> manifest.Manifest:
    directory.mkdir(parents=True)
    (directory / "a.txt").write_text("content")
    (directory / "deep").mkdir()
    (directory / "deep" / "b.txt").write_text("more")
    return manifest.write_manifest(directory, kind, synthetic=False, inputs="same", **options)  # type: ignore[arg-type]


def test_manifest_names_every_file_and_reads_back(tmp_path: Path) -> None:
    written = make(tmp_path / "x")
    assert manifest.read_manifest(tmp_path / "x", kind="run") == written
    assert sorted(written.files) == ["a.txt", "deep/b.txt"]


def test_what_later_steps_write_is_outside(tmp_path: Path) -> None:
    manifest = make(tmp_path / "x", outside=("deep",))
    assert list(manifest.files) == ["a.txt"]


@pytest.mark.parametrize("damage", ["change", "remove", "truncate"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    make(tmp_path / "x")
    path = tmp_path / "x" / "deep" / "b.txt"
    path.unlink() if damage == "remove" else path.write_text("evil" if damage == "change" else "")
    with pytest.raises(ArtifactError, match=r"deep/b\.txt"):
        manifest.read_manifest(tmp_path / "x")
    with pytest.raises(ArtifactError, match=r"deep/b\.txt"):
        manifest.is_current(tmp_path / "x", "run", "same")


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "link"])
def test_a_manifest_cannot_point_outside(tmp_path: Path, name: str) -> None:
    make(tmp_path / "x")
    (tmp_path / "secret").write_text("s")
    (tmp_path / "x" / "link").symlink_to(tmp_path / "secret")
    path = tmp_path / "x" / manifest.MANIFEST
    document = json.loads(path.read_text())
    document["files"][name] = files.digest_bytes(b"s")
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="outside its directory"):
        manifest.read_manifest(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "run"}', '{"kind": "run", "schema_version": 99}', "\xff"])
def test_a_broken_manifest_is_an_artifact_error(tmp_path: Path, text: str) -> None:
    make(tmp_path / "x")
    (tmp_path / "x" / manifest.MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError):
        manifest.read_manifest(tmp_path / "x", kind="run")


@pytest.mark.parametrize("parent", [{"a": "b"}, {"kind": "run"}, "text", 3])
def test_a_broken_link_to_the_parent_is_an_artifact_error(tmp_path: Path, parent: object) -> None:
    make(tmp_path / "x")
    path = tmp_path / "x" / manifest.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "parent": parent}))
    with pytest.raises(ArtifactError, match="lacks its fields"):
        manifest.read_manifest(tmp_path / "x")


def test_another_kind_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "x", kind="expert")
    with pytest.raises(ArtifactError, match="kind 'run'"):
        manifest.read_manifest(tmp_path / "x", kind="run")


def test_current_means_complete_and_of_the_same_inputs(tmp_path: Path) -> None:
    assert not manifest.is_current(tmp_path / "x", "run", "same")
    make(tmp_path / "x")
    assert manifest.is_current(tmp_path / "x", "run", "same")
    assert not manifest.is_current(tmp_path / "x", "run", "other")


def test_chain_is_checked_up_to_the_root(tmp_path: Path) -> None:
    make(tmp_path / "run")
    make(tmp_path / "run" / "experts" / "chest", kind="expert", parent=tmp_path / "run")
    chain = manifest.verify_chain(tmp_path / "run" / "experts" / "chest")
    assert [link.kind for link in chain] == ["expert", "run"]
    manifest.write_manifest(tmp_path / "run", "run", synthetic=True)
    with pytest.raises(ArtifactError, match="not the run that"):
        manifest.verify_chain(tmp_path / "run" / "experts" / "chest")


def test_tensors_round_trip_whatever_their_memory_format(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    files.save_tensors(tmp_path / "m.safetensors", {"b": weight, "a": torch.arange(3)})
    loaded = files.load_tensors(tmp_path / "m.safetensors")
    assert torch.equal(loaded["b"], weight)
    assert torch.equal(loaded["a"], torch.arange(3))


def test_equal_tensors_give_equal_bytes(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(3), "b": torch.zeros(2)}
    files.save_tensors(tmp_path / "1", tensors)
    files.save_tensors(tmp_path / "2", dict(reversed(tensors.items())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_equal_metadata_gives_equal_bytes(tmp_path: Path) -> None:
    """safetensors' own writer orders them by a hash that is seeded anew for every file."""
    metadata = {f"key{index}": f"Wert \u00e4 {index}" for index in range(6)}
    tensors = {"b": torch.arange(3), "a": torch.ones(2, 5)}
    found = set()
    for index in range(8):
        files.save_tensors(tmp_path / f"{index}", tensors, dict(reversed(metadata.items())) if index % 2 else metadata)
        found.add((tmp_path / f"{index}").read_bytes())
    assert len(found) == 1
    with safetensors.safe_open(tmp_path / "0", "pt") as stream:
        assert stream.metadata() == metadata
        assert torch.equal(stream.get_tensor("b"), torch.arange(3))
    assert torch.equal(files.load_tensors(tmp_path / "0")["a"], torch.ones(2, 5))


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(pickle.dumps({"a": 1}))
    torch.save({"a": torch.ones(1)}, tmp_path / "torch")
    for name in ("plain", "torch"):
        with pytest.raises(ArtifactError, match="is a pickle"):
            files.load_tensors(tmp_path / name)


def test_an_intact_file_whose_length_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    found = False
    for size in range(0, 400, 4):
        files.save_tensors(tmp_path / "m", {"a": torch.ones(1)}, {"note": "x" * size})
        found |= (tmp_path / "m").read_bytes()[:1] == b"\x80"
        assert torch.equal(files.load_tensors(tmp_path / "m")["a"], torch.ones(1))
    assert found


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    files.save_tensors(tmp_path / "m", {"a": torch.ones(100)})
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-50])
    with pytest.raises(ArtifactError, match="cannot be read"):
        files.load_tensors(tmp_path / "m")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    manifest.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert manifest.read_json(tmp_path / "a.json") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
