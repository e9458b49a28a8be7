from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from lorkit import profiles
from lorkit.cli.main import run_command_line
from lorkit.decompose.errors import MissingRuntimeError
from lorkit.export.building.elsewhere import command_elsewhere, parent_elsewhere
from lorkit.export.building.exporting import export
from lorkit.export.building.job import ExportJob
from lorkit.export.building.sources import exportable_expert
from lorkit.export.targets import get_target


def test_a_run_leaves_graph_script_and_command_for_the_target_machine(extracted: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(extracted, tmp_path / "runs" / extracted.name))
    with pytest.raises(MissingRuntimeError) as caught:
        export(run, region="chest", target="trt", profile="h200", precision="fp16")
    directory = run / "exports" / "chest" / "trt-h200-fp16"
    command = f"decompose export --run {run.name} --region chest --target trt --profile h200 --precision fp16"
    assert f"model.onnx and build.sh for it are in {directory} (and 2 more directories)" in str(caught.value)
    assert str(caught.value).endswith(f"with `{command}`")
    assert caught.value.exit_code == 5
    script = directory / "build.sh"
    assert os.access(script, os.X_OK)
    assert f"#   {command}\n" in script.read_text(encoding="utf-8")
    assert re.search(r"--optShapes=image:\d+x1x16x16", script.read_text(encoding="utf-8"))
    assert "`build.sh` builds it on its hardware" in (directory / "README.md").read_text(encoding="utf-8")
    # the command is one that this version takes; here it finds the same files and the same lack
    arguments = shlex.split(command)[1:]
    arguments[arguments.index(run.name)] = str(run)
    assert run_command_line(arguments) == 5


def test_another_target_names_only_what_it_left(extracted: Path, tmp_path: Path) -> None:
    expert = Path(shutil.copytree(extracted / "experts" / "chest", tmp_path / "elsewhere"))
    with pytest.raises(MissingRuntimeError, match=r"model\.onnx for it are in .*elsewhere --target torch-trt"):
        export(expert, target="torch-trt", profile="h200")
    assert not (expert / "exports" / "torch-trt-h200-fp32" / "build.sh").exists()


@pytest.mark.parametrize("target", ["trt", "torch-trt"])
def test_the_profile_of_a_cpu_is_refused_before_anything_is_read(target: str, tmp_path: Path) -> None:
    with pytest.raises(MissingRuntimeError, match=r"profile 'cpu-generic', a CPU; required: .*NVIDIA GPU; name one"):
        export(tmp_path / "no such run", target=target, profile="cpu-generic")


def test_a_copied_expert_and_a_profile_of_the_user_are_named_without_paths(extracted: Path, tmp_path: Path) -> None:
    expert = Path(shutil.copytree(extracted / "experts" / "chest", tmp_path / "a copy"))
    source = exportable_expert(expert)
    mine = profiles.load("l4").model_copy(update={"name": "clinic"})
    job = ExportJob(get_target("trt"), mine, "fp32")
    command = command_elsewhere(source, job)
    assert shlex.split(command)[2:] == shlex.split("'a copy' --target trt --profile clinic.yaml --precision fp32")
    assert parent_elsewhere(source) == "expert 'a copy'"
