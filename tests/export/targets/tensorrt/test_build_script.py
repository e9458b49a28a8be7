from __future__ import annotations

import subprocess
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from lorkit import profiles
from lorkit.export.targets.tensorrt.build_script import trtexec_arguments, write_build_script

COMMAND = "decompose export --run some --region chest --target trt --profile l4 --precision fp16"


def write_graph(directory: Path, **inputs: tuple[int | str, ...]) -> Path:
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    nodes = [helper.make_node("Identity", [next(iter(inputs))], ["logits"])]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, next(iter(inputs.values())))
    path = directory / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", given, [out])), path)
    return path


def fake_trtexec(directory: Path) -> dict[str, str]:
    """Return an environment in which trtexec prints its arguments, one per line."""
    tool = directory / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    tool.chmod(0o755)
    return {"PATH": f"{tool.parent}:/usr/bin:/bin"}


def test_the_script_runs_trtexec_beside_the_file_with_the_ranges_of_the_profile(tmp_path: Path) -> None:
    place = tmp_path / "an export"
    place.mkdir()
    write_graph(place, image=("N", 3, 64, 48), region=("N",))
    path = write_build_script(place, profiles.load("l4"), COMMAND, parent="run 'some'", versions=">=10.12,<12")
    done = subprocess.run([path], env=fake_trtexec(tmp_path), capture_output=True, text=True, timeout=60, check=True)
    where, *arguments = done.stdout.splitlines()
    assert Path(where) == place
    batch = profiles.load("l4").batch_sizes
    assert arguments == [
        "--onnx=model.onnx",
        "--saveEngine=model.engine",
        "--stronglyTyped",
        f"--minShapes=image:{batch.min}x3x64x48,region:{batch.min}",
        f"--optShapes=image:{batch.opt}x3x64x48,region:{batch.opt}",
        f"--maxShapes=image:{batch.max}x3x64x48,region:{batch.max}",
        "--noTF32",
        "--skipInference",
    ]
    text = path.read_text(encoding="utf-8")
    assert f"#   {COMMAND}\n" in text
    assert "copy the run 'some' to that machine" in text
    assert str(tmp_path) not in text


def test_without_trtexec_it_says_what_is_required(tmp_path: Path) -> None:
    write_graph(tmp_path, image=("N", 1, 8, 8))
    path = write_build_script(tmp_path, profiles.load("l4"), COMMAND, parent="run 'some'", versions=">=10.12,<12")
    done = subprocess.run(
        [path], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert "required: TensorRT >=10.12,<12" in done.stderr


def test_settings_of_the_engine_become_flags(tmp_path: Path) -> None:
    path = write_graph(tmp_path, nodes=("N", 2, 3, 2, 5))
    plain = profiles.load("h200")
    engine = plain.engine.model_copy(
        update={
            "version_compatible": True,
            "hardware_compatible": True,
            "refit": True,
            "strip": True,
            "tf32": True,
            "workspace_mib": 512,
        }
    )
    arguments = trtexec_arguments(path, plain.model_copy(update={"engine": engine}))
    assert f"--optShapes=nodes:{plain.batch_sizes.opt}x2x3x2x5" in arguments
    assert arguments[7:-1] == [
        "--versionCompatible",
        "--refit",
        "--stripWeights",
        "--hardwareCompatibilityLevel=ampere+",
        "--memPoolSize=workspace:512",
    ]
