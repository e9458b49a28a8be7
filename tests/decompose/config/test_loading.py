from pathlib import Path

import pytest
import yaml

from lorkit.decompose.config import config_digest, default_config, load_config, to_yaml
from lorkit.decompose.errors import UsageError


def write(directory: Path, text: str) -> Path:
    path = directory / "decompose.yaml"
    path.write_text(text, encoding="utf-8")
    return path


MINIMAL = "regions: {chest: {data: chest.npz}}\n"


def test_without_a_file_the_phantom_is_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None)
    assert list(config.regions) == ["chest", "brain", "breast", "knee"]
    assert config.regions["chest"].data == ("phantom:chest",)


def test_a_file_in_the_directory_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load_config(None).regions["chest"].data == (str(tmp_path / "chest.npz"),)


def test_written_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = default_config(overrides=["train.augment=null", "lorkd.ranks.chest=4"])
    again = load_config(write(tmp_path, to_yaml(config)))
    assert again.model_dump() == config.model_dump()


def test_digest_ignores_where_the_data_lies_but_not_how_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = (load_config(write(tmp_path / name, MINIMAL)) for name in "ab")
    assert first.regions["chest"].data != second.regions["chest"].data
    assert config_digest(first) == config_digest(second)
    assert config_digest(first) != config_digest(load_config(tmp_path / "a", overrides=["seed=1"]))


def test_variables_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "regions: {chest: {data: '${SOME_ROOT}/x.npz'}}")
    monkeypatch.setenv("SOME_ROOT", "/data")
    assert load_config(path).regions["chest"].data == ("/data/x.npz",)
    monkeypatch.delenv("SOME_ROOT")
    with pytest.raises(UsageError, match="SOME_ROOT"):
        load_config(path)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.epochs=3", "unknown key 'trian'.*did you mean 'train'"),
        ("train.epoch=3", "unknown key 'train.epoch'.*did you mean 'epochs'"),
        ("regions.chest.dta=x", "unknown key 'regions.chest.dta'.*did you mean 'data'"),
        ("regions.chest.augment.flips=false", r"unknown key 'regions\.chest\.augment\.flips' in [^(]*; .*mean 'flip'"),
        ("regions.chest.augment.rotate=x", r"regions\.chest\.augment\.rotate = 'x' in [^(]*; required: a valid number"),
        ("regions.chest.augment.rotate=-1", r"regions\.chest\.augment\.rotate = -1 in [^(]*; "),
        (
            "regions.chest.augment=true",
            r"regions\.chest\.augment = True in [^(]*; required: a section with some of flip",
        ),
        ('foundation.key_map={"module.": ""}', r"no foundation\.key_map without foundation\.weights"),
        ("regions.chest.structures=[1]", r"regions\.chest\.structures.0 = 1 "),
        ("lorkd.feature_kd.wieght=1", "did you mean 'weight'"),
        ("train.epochs=0", "train.epochs = 0"),
        ("train.lr=.nan", "finite"),
        ("train.precision=int8", "fp32"),
        ("image.channels=4", "1 or 3"),
        ("image.size=[32,32,32,32]", "image.size"),
        ("lorkd.ranks.liver=4", "not 'liver'"),
        ("rd.hidden=0", r"^rd\.hidden = 0 in [^(]*; required: greater"),
        ("rd.hidden={chest: 0}", r"^rd\.hidden\.chest = 0 in [^(]*; required: greater"),
        ("regions.chest.augment.random.operations=9", r"augment\.random\.operations = 9 in [^(]*; required: less"),
        ("rd.hidden={liver: 4}", "rd.hidden to name regions of this file"),
        ("foundation.regions=[liver]", "not 'liver'"),
        ("regions.All={data: x}", "region name 'All'"),
        ("regions.chest={}", "either data, or train and one or both"),
        ("regions.chest.window=[5,1]", "low below high"),
        ("regions.chest.spacing=[1,1,1]", "image.size with three sides"),
        ("split.val=0.8", "below 0.9"),
        ("epochs", "KEY=VALUE"),
        ("train.epochs=[", "valid YAML"),
        ("name.first=x", "inside a value"),
    ],
)
def test_bad_settings_are_one_line_that_names_the_key(tmp_path: Path, override: str, message: str) -> None:
    path = write(tmp_path, "name: five\n" + MINIMAL)
    with pytest.raises(UsageError, match=message) as caught:
        load_config(path, overrides=[override])
    assert "\n" not in str(caught.value)


def test_unknown_keys_come_before_missing_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown key 'region'"):
        load_config(write(tmp_path, "region: {chest: {data: chest.npz}}\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "valid YAML"),
        ("- 1", "mapping"),
        ("seed: 1\nseed: 2\n" + MINIMAL, "is repeated"),
        ("x: !!python/object/apply:os.system ['true']", "valid YAML"),
    ],
)
def test_files_that_are_no_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config(write(tmp_path, text))


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="decompose init"):
        load_config(tmp_path / "absent.yaml")


def test_stated_parts_exclude_data(tmp_path: Path) -> None:
    text = yaml.safe_dump({"regions": {"chest": {"data": "a", "train": "b", "val": "c", "test": "d"}}})
    with pytest.raises(UsageError, match="not both"):
        load_config(write(tmp_path, text))
