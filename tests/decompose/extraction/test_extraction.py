from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image
from resealing import edit_json, reseal
from small_runs import small_config, write_run

from lorkit.decompose.artifacts import load_tensors, read_json, verify_chain
from lorkit.decompose.data.preprocessing.recipe import apply_recipe
from lorkit.decompose.data.preprocessing.region_check import check
from lorkit.decompose.errors import ArtifactError, BusyError, DataError, ParityError, UsageError
from lorkit.decompose.evaluation.inference import predict_logits
from lorkit.decompose.extraction import equality as proof
from lorkit.decompose.extraction.extraction import extract
from lorkit.decompose.regions import Region
from lorkit.decompose.runs import Run, locked_data, open_run
from lorkit.decompose.runs.expert import LoadedExpert, load_expert, plain_network
from lorkit.decompose.runs.live_model import deployed_backbone
from lorkit.decompose.runs.locked_data import RunSplits
from lorkit.decompose.runs.networks import RunNetworks

WITHOUT_LORKIT = "import sys; sys.modules['lorkit'] = None\n"


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> LoadedExpert:
    """The chest expert of a public backbone, beside its run; tests only read it."""
    root = tmp_path_factory.mktemp("home")
    config = small_config(root, backbone="shufflenet_v2_x1_0", name="small")
    run = write_run(config, root / "runs" / "small")
    return load_expert(extract(run, region="chest")[0].path)


def python(script: str, directory: Path) -> str:
    """Run a script in a process of its own that cannot import lorkit."""
    (directory / "script.py").write_text(WITHOUT_LORKIT + script, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], cwd=directory, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_is_complete_and_its_chain_holds(chest: LoadedExpert) -> None:
    assert set(chest.manifest.files) == {"model.safetensors", "model.pt2", "expert.json", "README.md"}
    assert [manifest.kind for manifest in verify_chain(chest.path)] == ["expert", "run"]
    assert chest.region.classes == ("normal", "pneumonia")
    assert chest.shape == (1, 16, 16)
    locked = read_json(chest.path.parent.parent / "splits.json")["regions"]["chest"]
    assert chest.info.cases == {part: len(digests) for part, digests in locked.items()}
    assert chest.info.parameters == sum(value.numel() for value in chest.plain.parameters())
    assert not chest.manifest.synthetic


def test_it_is_the_public_class_with_its_own_keys_and_size(chest: LoadedExpert) -> None:
    public = plain_network("shufflenet_v2_x1_0", channels=1, size=(16, 16), region=Region(name="a", classes=("x", "y")))
    stored = load_tensors(chest.path / "model.safetensors")
    assert set(stored) == set(public.state_dict())
    assert type(chest.plain) is type(public)
    assert all("lorkit.decompose.experts" not in type(module).__module__ for module in chest.plain.modules())


def test_equality_with_the_live_model_was_measured_on_real_images(chest: LoadedExpert) -> None:
    run = open_run(chest.path.parent.parent)
    val = RunSplits(run, "chest").part("chest", "val")
    live = RunNetworks(run).live
    with torch.no_grad():
        expected = live(torch.from_numpy(np.array(val.images)), "chest").logits["chest"].numpy()
    found = chest.info.equality
    difference = np.abs(predict_logits(chest.network, val) - expected).max()
    assert (found.n, found.inputs, found.label_flips) == (len(val), "real", 0)
    assert found.max_abs_difference == pytest.approx(difference, rel=0.5, abs=1e-6)
    assert found.max_abs_difference < found.tolerance


def test_the_program_and_the_card_run_where_lorkit_is_not(chest: LoadedExpert, tmp_path: Path) -> None:
    place = Path(shutil.copytree(chest.path, tmp_path / "expert"))
    pixels = np.random.default_rng(0).integers(0, 255, (31, 19), dtype=np.uint8)
    Image.fromarray(pixels).save(place / "image.png")
    code = (chest.path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    batches = "network(torch.zeros(1, 1, 16, 16)); network(torch.zeros(9, 1, 16, 16))\n"
    blocked = "try:\n    import lorkit\n    raise SystemExit('lorkit is here')\nexcept ImportError:\n    pass\n"
    printed = python(blocked + code + batches, place)
    image = torch.from_numpy(apply_recipe(chest.recipe, pixels))[None]
    with torch.no_grad():
        expected = dict(zip(chest.region.classes, chest.network(image).softmax(1)[0].tolist(), strict=True))
    assert ast.literal_eval(printed) == pytest.approx(expected, abs=1e-5)


def test_nothing_of_the_other_region_is_inside_by_name_or_digest(chest: LoadedExpert) -> None:
    run = open_run(chest.path.parent.parent)
    live = RunNetworks(run).live
    for path in chest.path.iterdir():
        content = path.read_bytes()
        assert b"knee" not in content, path.name
        assert str(Path(__file__).parent.parent.parent).encode() not in content, path.name
    theirs = {value.numpy().tobytes() for key, value in live.state_dict().items() if "knee" in key and value.dim()}
    mine = {value.numpy().tobytes() for value in load_tensors(chest.path / "model.safetensors").values()}
    constant = {value for value in theirs if len(set(value[i : i + 4] for i in range(0, len(value), 4))) == 1}
    assert len(theirs) > 100
    assert not mine & theirs - constant
    assert not proof.foreign_tensors(live, chest.network, "chest", run.regions.names)


def test_a_planted_tensor_of_another_region_is_found(chest: LoadedExpert, small_run: Run) -> None:
    live = RunNetworks(small_run).live
    network = RunNetworks(small_run).expert("chest")
    planted = live.state_dict()["heads.knee.weight"]
    network.register_buffer("cache", planted.clone())
    assert proof.foreign_tensors(live, network, "chest", small_run.regions.names) == ["cache"]
    with pytest.raises(ParityError, match="1 tensor of other regions, such as 'cache'"):
        proof.check_no_foreign_tensors(live, network, "chest", small_run.regions.names)


def test_the_card_states_use_metrics_and_limits(chest: LoadedExpert) -> None:
    text = (chest.path / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "unknown"
    assert "region:chest" in front["tags"]
    value = front["model-index"][0]["results"][0]["metrics"][0]
    assert value["value"] == pytest.approx(chest.info.validation.value(value["type"]), abs=1e-4)
    assert "not a medical device" in " ".join(text.split()).replace("**", "")
    assert "95 % interval" in text
    assert "No image is in this package" in text


def test_the_in_region_check_travels_and_was_measured(chest: LoadedExpert) -> None:
    found = chest.info.in_region
    assert found.false_refusal.n == chest.info.cases["test"]
    assert found.other_regions.region_count == 1
    black = np.zeros((1, 16, 16), np.float32)
    assert not check(found, black)[2]


def test_a_second_time_it_is_up_to_date_until_something_changes(small_run: Run, without_program: None) -> None:
    first = extract(small_run, region="chest")
    stamp = first[0].path.joinpath("manifest.json").stat().st_mtime_ns
    again = extract(small_run, region="chest")
    assert (first[0].up_to_date, again[0].up_to_date) == (False, True)
    assert again[0].max_difference == first[0].max_difference
    assert again[0].path.joinpath("manifest.json").stat().st_mtime_ns == stamp
    before = load_tensors(again[0].path / "model.safetensors")
    assert not extract(small_run, region="chest", recalibrate=True)[0].up_to_date
    expert = load_expert(again[0].path)
    after = load_tensors(again[0].path / "model.safetensors")
    changed = {key.rsplit(".", 1)[1] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}
    assert expert.info.recalibrated
    assert "recalibrated on the training split" in (expert.path / "README.md").read_text()
    (expert.path / "README.md").write_text("PROVEN SAFE")
    with pytest.raises(ArtifactError, match=r"README\.md has changed"):
        extract(small_run, region="chest", recalibrate=True)
    assert not extract(small_run, region="chest", recalibrate=True, force=True)[0].up_to_date


@pytest.mark.usefixtures("without_program")
def test_what_is_up_to_date_loads_no_network_and_no_data(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    load, read = safetensors.torch.load, locked_data.read_region
    monkeypatch.setattr("safetensors.torch.load", lambda data: seen.append("network") or load(data))
    monkeypatch.setattr(locked_data, "read_region", lambda name, *a, **k: seen.append(name) or read(name, *a, **k))
    extract(small_run, region="all")
    assert sorted(seen) == ["chest", "knee", "network"], "the live model, and not what was just written"
    assert all(one.up_to_date for one in extract(small_run, region="all"))
    assert len(seen) == 3


def test_what_is_up_to_date_needs_no_torch(chest: LoadedExpert) -> None:
    script = (
        "import sys; from lorkit.decompose import extract;"
        "print(extract(sys.argv[1], region='chest')[0].up_to_date, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, chest.path.parent.parent], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.split(), done.stderr) == (["True", "False"], "")


@pytest.mark.parametrize("why", ["parity", "data"])
def test_a_failure_leaves_nothing_half_written(small_run: Run, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    if why == "parity":
        monkeypatch.setattr(proof, "TOLERANCE", -1.0)
        error: type[Exception] = ParityError
    else:
        monkeypatch.setattr("lorkit.decompose.runs.locked_data.read_region", _gone)
        error = DataError
    with pytest.raises(error):
        extract(small_run, region="chest")
    assert not small_run.experts_dir.exists() or not list(small_run.experts_dir.iterdir())


def _gone(*args: object, **kwargs: object) -> None:
    raise DataError("no data at chest.npz", required="an existing file", fix="check the path")


@pytest.mark.usefixtures("without_program")
def test_a_site_without_the_other_regions_data_is_warned(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = locked_data.read_region
    monkeypatch.setattr(
        locked_data, "read_region", lambda name, *a, **k: (_gone if name == "knee" else real)(name, *a, **k)
    )
    info = load_expert(extract(small_run, region="chest")[0].path).info.to_json()
    assert info["in_region"]["other_regions"] == {"rate": None, "lowest": None, "region_count": 0, "n": 0}
    assert "not measured on 1 other region" in info["warnings"][0]
    with pytest.raises(DataError, match="no data"):
        extract(small_run, region="knee")


def test_an_unknown_region_names_the_known_ones(small_run: Run) -> None:
    with pytest.raises(UsageError, match="unknown region 'chset'; required: one of chest, knee"):
        extract(small_run, region="chset")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("expert.json", lambda text: text.replace('"classes"', '"klasses"')),
        ("expert.json", lambda text: text.replace("shufflenet_v2_x1_0", "resnet18")),
        ("model.safetensors", lambda text: text[: len(text) // 2]),
    ],
)
def test_a_damaged_expert_is_refused(chest: LoadedExpert, tmp_path: Path, name: str, change: object) -> None:
    place = Path(shutil.copytree(chest.path, tmp_path / "expert"))
    text = (place / name).read_bytes().decode("latin-1")
    (place / name).write_bytes(change(text).encode("latin-1"))  # type: ignore[operator]
    with pytest.raises(ArtifactError, match="has changed"):
        load_expert(place)
    reseal(place)
    with pytest.raises(ArtifactError, match=r"expert\.json lacks classes|does not fit|model\.safetensors has changed"):
        load_expert(place)


@pytest.mark.usefixtures("without_program")
@pytest.mark.parametrize("method", ["mtl", "stl", "finetune", "linear-probe"])
def test_baselines_are_extracted_the_same_way(make_run: Callable[..., Run], tmp_path: Path, method: str) -> None:
    run = make_run(tmp_path / "runs" / method, method=method)
    result = extract(run, region="knee", out=tmp_path / "elsewhere")[0]
    assert result.path == tmp_path / "elsewhere" / "knee"
    assert result.max_difference < 1e-4
    expert = load_expert(result.path)
    assert expert.region.name == "knee"
    assert expert.info.backbone == deployed_backbone(run.config)
    assert [manifest.kind for manifest in verify_chain(result.path)] == ["expert", "run"]


@pytest.mark.usefixtures("without_program")
@pytest.mark.parametrize("sealed", [False, True])
def test_an_expert_of_a_run_that_is_replaced_meanwhile_is_refused(
    small_run: Run, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    def replace(network: object, directory: Path, **options: object) -> None:
        if sealed:
            reseal(small_run.path, lambda manifest: manifest.update(inputs="another"))
        else:
            edit_json(small_run.path / "splits.json", lambda splits: splits["warnings"].append("changed"))

    monkeypatch.setattr("lorkit.decompose.extraction.expert_builder.write_program", replace)
    error, said = (
        (BusyError, "was replaced while it was read") if sealed else (ArtifactError, r"splits\.json has changed")
    )
    with pytest.raises(error, match=said):
        extract(small_run.path, region="chest")
    assert not list(small_run.experts_dir.glob("*"))
