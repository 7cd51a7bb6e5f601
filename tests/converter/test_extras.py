"""What is not installed is named with its extra, before anything is loaded."""

import importlib.util
import platform
import sys
import tomllib
from pathlib import Path

import pytest

from converter.errors import ConversionError
from converter.frontends.extras import _PACKAGES, Extra, require


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else object())


@pytest.mark.parametrize(
    ("extra", "missing", "named"),
    [
        ("keras", ("tf_keras",), "tf_keras, which is not"),
        ("keras", ("tensorflow", "keras"), "TensorFlow and Keras, which are not"),
        ("onnx", ("torch", "onnx", "onnxruntime"), "PyTorch, onnx, onnxruntime, which are not"),
        ("sklearn", ("skl2onnx",), "skl2onnx, which is not"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(
    extra: Extra, missing: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, *missing)
    with pytest.raises(ConversionError, match=f"a model needs {named} installed") as caught:
        require(extra, "a model")
    assert f"edge-deploy[{extra}]" in str(caught.value.hint)


def test_nothing_is_said_where_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch)
    for extra in _PACKAGES:
        require(extra, "a model")


def test_a_machine_that_litert_torch_does_not_exist_for_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "litert_torch")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ConversionError) as caught:
        require("torch", "a model")
    assert "Linux on x86-64 and macOS on ARM only" in str(caught.value.hint)


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(_PACKAGES) <= set(project["optional-dependencies"])
