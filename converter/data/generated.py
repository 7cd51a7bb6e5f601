"""Samples made by somebody's own code: `python:MODULE:FUNCTION`, or `plugin:NAME` of the group `edge_deploy.data`.

The only data that runs code, and only where it is asked for in so many words. The function takes nothing and gives
samples one after the other: an input, or a tuple of an input and its truth (None: unknown).

An input is a path of a picture, a PIL picture, an array (uint8 [height, width, 3]: a picture; else values as the float
model takes them), or a tuple of arrays, one for each input. A truth is a class (text or number), a tuple of numbers for
a regression, a uint8 map for segmentation, or a list of (label, left, top, right, bottom).
"""

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from converter.data.examples import (
    ClassTruth,
    Content,
    Example,
    Examples,
    MapValues,
    ObjectsTruth,
    PictureFile,
    Pixels,
    Request,
    Tensors,
    Truth,
    ValuesTruth,
    gathered,
)
from converter.errors import CalibrationError
from converter.metrics.objects import TrueObject
from edge_agent import plugins
from edge_agent.errors import PluginError
from edge_agent.release.inputs import ImageInput

GROUP = "edge_deploy.data"
_HINT = "a function without arguments that yields inputs, or tuples of input and truth (docs/evaluation.md)"


def read_generated(request: Request) -> Examples:
    """Run it, and keep what it gives.

    Raises:
        CalibrationError: there is no such function, it fails, or gives something else.
    """
    name = str(request.path)
    items, bad = [], []
    for number, sample in enumerate(_samples(name)):
        try:
            items.append(_example(number, sample, request))
        except (TypeError, ValueError) as error:
            bad.append(f"sample {number}: {error}")
    return gathered(request, items, bad, hint=_HINT)


def _samples(name: str) -> Iterator[Any]:
    function = _loaded(name)
    with contextlib.redirect_stdout(sys.stderr):  # stdout is ours
        try:
            yield from function()
        except Exception as error:  # somebody else's code may raise anything
            raise CalibrationError(f"{name} failed: {type(error).__name__}: {error}", hint=_HINT) from error


def _loaded(name: str) -> Callable[[], Any]:
    kind, _, rest = name.partition(":")
    if kind == "plugin":
        try:
            return plugins.load(GROUP, rest)
        except PluginError as error:
            hint = f"install the distribution that has it as an entry point of {GROUP}"
            raise CalibrationError(str(error), hint=hint) from error
    module, _, function = rest.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):
            loaded = getattr(importlib.import_module(module), function)
    except Exception as error:  # what a module does while it is imported may raise anything
        raise CalibrationError(
            f"{name} cannot be loaded: {type(error).__name__}: {error}",
            hint="python:MODULE:FUNCTION, the module being in this folder or installed",
        ) from error
    if not callable(loaded):
        raise CalibrationError(f"{name} is no function", hint=_HINT)
    return loaded  # type: ignore[no-any-return]  # what it gives is checked


def _example(number: int, sample: Any, request: Request) -> Example:
    given, truth = sample if isinstance(sample, tuple) else (sample, None)
    return Example(
        f"sample {number}",
        _content(given, request),
        None if truth is None or not request.labeled else _truth(truth, request),
    )


def _content(given: Any, request: Request) -> Content:
    if isinstance(given, str | Path):
        return PictureFile(Path(given))
    if isinstance(given, Image.Image):
        return Pixels(np.asarray(given.convert("RGB")))
    if isinstance(given, tuple):
        return Tensors(tuple(np.asarray(each, np.float64) for each in given))
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{type(given).__name__} is no input")
    if isinstance(request.spec, ImageInput) and array.dtype == np.uint8:
        return Pixels(array)
    return Tensors((array.copy(),))  # its memory may be used for the next one


def _truth(given: Any, request: Request) -> Truth:
    if request.task == "detection":
        return ObjectsTruth(tuple(_object(each) for each in given))
    if request.task == "segmentation":
        return MapValues(np.asarray(given))
    if request.task == "regression":
        return ValuesTruth(tuple(float(value) for value in np.ravel(given)))
    return ClassTruth(given if isinstance(given, str) else int(given))


def _object(given: Any) -> TrueObject:
    label, *sides = given
    left, top, right, bottom = (float(side) for side in sides)
    if not (left < right and top < bottom):
        raise ValueError(f"the box {sides} has no area")
    return TrueObject(str(label), (left, top, right, bottom), (right - left) * (bottom - top))
