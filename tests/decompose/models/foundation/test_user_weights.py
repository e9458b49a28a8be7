from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml
from torch import Tensor, nn

from lorkit.decompose.errors import ArtifactError
from lorkit.decompose.models.foundation.user_weights import load_user_weights


class Small(nn.Module):
    feature_dim, head_name = 4, "fc"

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.fc: nn.Module = nn.Identity()


def weights(prefix: str = "", head: bool = False) -> dict[str, Tensor]:
    torch.manual_seed(1)
    state = {f"{prefix}{key}": value for key, value in Small().state_dict().items()}
    return state | ({f"{prefix}fc.weight": torch.zeros(2, 4), f"{prefix}fc.bias": torch.zeros(2)} if head else {})


def saved(tmp_path: Path, document: object) -> Path:
    torch.save(document, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def assert_loaded(backbone: nn.Module) -> None:
    expected = weights()
    assert all(torch.equal(expected[key], value) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("container", ["", "state_dict", "model_state_dict", "model", "module", "encoder", "backbone"])
def test_torch_files_load_and_say_where_the_weights_stood(tmp_path: Path, container: str) -> None:
    document = {container: weights(), "epoch": 3} if container else weights()
    report = load_user_weights(backbone := Small(), saved(tmp_path, document))
    assert_loaded(backbone)
    assert report.container == container
    assert report.matched == tuple(sorted(weights()))
    assert report.missing == report.unexpected == report.dropped == report.dropped_heads == report.defaulted == ()


def test_a_dictionary_in_a_dictionary_is_found(tmp_path: Path) -> None:
    report = load_user_weights(backbone := Small(), saved(tmp_path, {"model": {"state_dict": weights()}, "epoch": 1}))
    assert_loaded(backbone)
    assert report.container == "model.state_dict"


def test_safetensors_load(tmp_path: Path) -> None:
    safetensors.torch.save_file(weights(), tmp_path / "weights.safetensors")
    load_user_weights(backbone := Small(), tmp_path / "weights.safetensors")
    assert_loaded(backbone)


def test_heads_are_dropped_and_reported(tmp_path: Path) -> None:
    report = load_user_weights(Small(), saved(tmp_path, weights(head=True)))
    assert report.dropped_heads == ("fc.bias", "fc.weight")


def test_the_longest_prefix_of_the_key_map_decides(tmp_path: Path) -> None:
    renamed = {key.replace("conv1.", "net.0."): value for key, value in weights(head=True).items()}
    renamed = {f"x.{key}": value for key, value in renamed.items()}
    key_map = {"x.": "", "x.net.0.": "conv1.", "x.fc.": None}
    report = load_user_weights(backbone := Small(), saved(tmp_path, renamed), key_map)
    assert_loaded(backbone)
    assert report.dropped == ("x.fc.bias", "x.fc.weight")
    assert report.dropped_heads == ()


def test_counters_that_old_files_lack_start_at_zero(tmp_path: Path) -> None:
    old = {key: value for key, value in weights().items() if not key.endswith("tracked")}
    report = load_user_weights(Small(), saved(tmp_path, old))
    assert report.defaulted == ("bn1.num_batches_tracked",)


def stated_map(message: str) -> dict[str, str | None]:
    """Return the key map that an error says to set, read as the YAML of a configuration."""
    return yaml.safe_load(message[message.index("{") :])


@pytest.mark.parametrize("prefix", ["module.", "encoder.", "backbone.", "module.encoder.", "model.net.0."])
@pytest.mark.parametrize("others", [(), ("decoder.a", "decoder.b.c"), ("projector", "module.queue")])
def test_the_key_map_that_an_error_names_works(tmp_path: Path, prefix: str, others: tuple[str, ...]) -> None:
    path = saved(tmp_path, weights(prefix, head=True) | {key: torch.zeros(1) for key in others})
    with pytest.raises(ArtifactError, match=r"set foundation\.key_map: \{") as caught:
        load_user_weights(Small(), path)
    found = stated_map(str(caught.value))
    assert found[prefix] == ""
    report = load_user_weights(backbone := Small(), path, found)
    assert_loaded(backbone)
    assert report.dropped == tuple(sorted(others))


def test_a_key_map_that_fits_nothing_is_answered_by_one_that_works(tmp_path: Path) -> None:
    path = saved(tmp_path, weights("backbone.", head=True))
    for wrong in ({"module.encoder.": ""}, {"backbone": ""}, {"backbone.conv1.": "bn1.", "backbone.": ""}):
        with pytest.raises(ArtifactError) as caught:
            load_user_weights(Small(), path, wrong)
        assert stated_map(str(caught.value)) == {"backbone.": ""}
    with pytest.raises(ArtifactError, match=r"remove foundation\.key_map$"):
        load_user_weights(Small(), saved(tmp_path, weights()), {"module.": ""})


@pytest.mark.parametrize(
    "document",
    [
        {"student": weights("module.backbone."), "teacher": weights("backbone."), "epoch": 3},
        {"state_dict_ema": weights(), "args": None},
        weights("encoder.") | {"epoch": 3},
    ],
    ids=["two networks", "another name", "numbers beside tensors"],
)
def test_tensors_in_dictionaries_of_any_name_are_found_by_the_key_map_that_the_error_names(
    tmp_path: Path, document: object
) -> None:
    path = saved(tmp_path, document)
    with pytest.raises(ArtifactError) as caught:
        load_user_weights(Small(), path)
    load_user_weights(backbone := Small(), path, stated_map(str(caught.value)))
    assert_loaded(backbone)


def test_a_file_of_another_network_gets_no_key_map(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="or change the backbone"):
        load_user_weights(Small(), saved(tmp_path, {"a.b": torch.zeros(1)}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    state = weights()
    state["bn1.weight"][2] = value
    with pytest.raises(ArtifactError, match=r"'bn1\.weight' holds NaN or infinity"):
        load_user_weights(Small(), saved(tmp_path, state))


def test_a_classifier_that_is_not_finite_is_refused_under_its_name_in_the_file_unless_it_is_dropped(
    tmp_path: Path,
) -> None:
    state = weights("module.", head=True) | {"module.fc.bias": torch.tensor([1.0, float("nan")])}
    path = saved(tmp_path, state)
    with pytest.raises(ArtifactError, match=r"'module\.fc\.bias' holds NaN"):
        load_user_weights(Small(), path, {"module.": ""})
    load_user_weights(backbone := Small(), path, {"module.": "", "module.fc.": None})
    assert_loaded(backbone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv1.bias"), r"1 missing, 0 unexpected \(\+\), such as conv1.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), r"0 missing, 1 unexpected \(\+\), such as \+extra"),
        (
            lambda w: w.update({"conv1.weight": torch.zeros(4, 1, 3, 3)}),
            "'conv1.weight' is for images of 1 channel, .* is 3",
        ),
        (lambda w: w.update({"conv1.weight": torch.zeros(4, 3, 1, 1)}), "'conv1.weight' is 4x3x1x1, .* is 4x3x3x3"),
        (lambda w: w.update({"conv1.bias": torch.zeros(4).long()}), r"'conv1.bias' is torch.int64"),
    ],
    ids=["missing", "unexpected", "channels", "shape", "type"],
)
def test_anything_short_of_a_full_match_fails_and_changes_nothing(tmp_path: Path, change: object, message: str) -> None:
    state = weights()
    change(state)  # type: ignore[operator]
    backbone = Small()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(ArtifactError, match=message):
        load_user_weights(backbone, saved(tmp_path, state))
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())


def test_key_maps_that_collide_or_fit_nothing_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, weights())
    with pytest.raises(ArtifactError, match=r"no key of .* starts with 'encoder.'"):
        load_user_weights(Small(), path, {"encoder.": ""})
    with pytest.raises(ArtifactError, match=r"two keys of .* map to 'conv1\."):
        load_user_weights(Small(), path, {"bn1.": "conv1."})


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path = saved(tmp_path, {"conv1.weight": Payload(tmp_path / "ran")})
    with pytest.raises(ArtifactError, match=r"cannot be read as tensors alone.*holds tensors and no code"):
        load_user_weights(Small(), path)
    assert not (tmp_path / "ran").exists()


def test_a_file_with_arrays_is_refused_without_advice_to_run_its_code(tmp_path: Path) -> None:
    path = saved(tmp_path, {key: value.numpy() for key, value in weights().items()})
    with pytest.raises(ArtifactError, match="numpy") as caught:
        load_user_weights(Small(), path)
    assert "you have two options" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 truncated",
        b"not a weights file",
        b"hello",
        *(bytes([opcode]) * 9 for opcode in range(0, 256, 5)),
    ],
)
def test_damaged_files_are_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(ArtifactError, match="cannot be read as tensors alone"):
        load_user_weights(Small(), tmp_path / "weights.pth")


def test_missing_files_and_foreign_content(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"none.pth is missing"):
        load_user_weights(Small(), tmp_path / "none.pth")
    with pytest.raises(ArtifactError, match="no dictionary of tensors"):
        load_user_weights(Small(), saved(tmp_path, [torch.zeros(1)]))
    (tmp_path / "pickle.safetensors").write_bytes(saved(tmp_path, weights()).read_bytes())
    with pytest.raises(ArtifactError, match="is a pickle"):
        load_user_weights(Small(), tmp_path / "pickle.safetensors")


def test_the_key_maps_of_the_documentation_work(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "quickstart.md").read_text(encoding="utf-8")
    maps = [yaml.safe_load(line)["key_map"] for line in page.splitlines() if line.strip().startswith("key_map:")]
    assert maps
    for key_map in maps:
        load_user_weights(backbone := Small(), saved(tmp_path, weights(next(iter(key_map)))), key_map)
        assert_loaded(backbone)
