import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import torch

from lorkit.decompose.artifacts import files
from lorkit.decompose.errors import ArtifactError


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


@pytest.mark.parametrize("read", [files.read_json, files.read_document, files.load_tensors])
def test_a_file_that_is_larger_than_the_free_memory_is_refused_before_it_is_read(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with (tmp_path / "a").open("wb") as stream:
        stream.truncate(2**43)
    with pytest.raises(ArtifactError, match=r"a has 8.19e\+03 GiB; required: at most the .* GiB of memory"):
        read(tmp_path / "a")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert files.read_json(tmp_path / "a.json") == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
