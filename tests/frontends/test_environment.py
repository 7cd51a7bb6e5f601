"""All frameworks live in one environment; docs/adr/0011-one-environment.md says so."""

import importlib.util
import subprocess
import sys

import pytest


def test_no_framework_here_asks_for_what_another_one_forbids() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module",
    ["tensorflow", "keras", "tf_keras", "torch", "litert_torch", "onnx", "onnxruntime", "sklearn", "skl2onnx"],
)
def test_every_framework_is_here(module: str) -> None:
    assert importlib.util.find_spec(module) is not None
