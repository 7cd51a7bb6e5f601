"""From a pickled scikit-learn model or pipeline to a float32 `.tflite`, by way of ONNX, in a child process.

A pickle is a program: reading one runs whatever stands in it. So it is not read unless that is allowed. In the child
skl2onnx writes the model as ONNX, which `onnx` converts; the reference is scikit-learn itself. Run as
`python -m converter.frontends.sklearn FOLDER` by `converter.child`.
"""

import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converter.child import answer_parent, run_child
from converter.errors import ConversionError
from converter.frontends.class_names import write_class_names
from converter.frontends.contract import REFERENCE_NAME, TIMEOUT_S, Wanted
from converter.frontends.extras import require
from converter.frontends.lowering import versions, write_reference
from converter.frontends.onnx import check_model, convert_read
from converter.frontends.onnx_model.model import read_onnx

_ONNX_NAME = "pipeline.onnx"
_OPSET = {"": 18, "ai.onnx.ml": 3}
_LOOKED_AT = 10_000  # operators of a pickle: the class comes first
_AS_ONNX = "write it as ONNX where it was trained: skl2onnx.to_onnx(model, X[:1].astype('float32'))"


def convert_sklearn(source: Path, folder: Path, wanted: Wanted) -> Mapping[str, str]:
    """Write `TFLITE_NAME` and `REFERENCE_NAME` into `folder`; gives the versions of the tools.

    A classifier gives its classes' scores, in the order of its `classes_`.

    Raises:
        ConversionError: code may not run, the file is damaged, no model of scikit-learn, or one that is not converted.
    """
    called = pickled_class(source)
    if not wanted.allow_code:
        raise ConversionError(
            f"{source} is a pickle ({called or 'of an unknown kind'}): reading it runs Python code that stands in it",
            hint=f"pass --allow-code if you trust whoever made it; or {_AS_ONNX}",
        )
    require("sklearn", "a scikit-learn model")
    shapes = {name: list(shape) for name, shape in wanted.input_shapes.items()}
    request = {"source": str(source.resolve()), "input_shapes": shapes, "outputs": list(wanted.outputs)}
    found: Mapping[str, str] = run_child(
        __name__, request, folder, what=f"converting {source.name}", timeout_s=TIMEOUT_S
    )
    return found


def pickled_class(source: Path) -> str | None:
    """The class of what is pickled, without unpickling; None where its beginning names none or is compressed.

    Raises:
        ConversionError: the file cannot be read, or is a pickle that is cut off.
    """
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ConversionError(f"{source}: {error.strerror}", hint="check the path") from error
    texts: list[str] = []
    try:
        for number, (operator, argument, _) in enumerate(pickletools.genops(content)):
            if operator.name == "GLOBAL":
                return str(argument).replace(" ", ".")
            if operator.name == "STACK_GLOBAL" and len(texts) > 1:
                return ".".join(texts[-2:])
            if isinstance(argument, str):
                texts.append(argument)
            if number > _LOOKED_AT:
                return None
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        if content[:1] != b"\x80":  # joblib compresses some
            return None
        raise ConversionError(
            f"{source} is no whole pickle: {error}", hint="it may be cut off: copy it again"
        ) from error
    return None


# --- in the child -------------------------------------------------------------------------------------------------


def _convert(folder: Path, request: Mapping[str, Any]) -> Mapping[str, str]:
    model = _load(Path(request["source"]))
    features = _features(model, request["input_shapes"])
    path = folder / _ONNX_NAME
    path.write_bytes(_as_onnx(model, features))
    check_model(read_onnx(path), path)
    convert_read(path, folder, Wanted(outputs=tuple(request["outputs"])))
    if not request["outputs"]:
        _answer_by_sklearn(model, folder)
        classes = getattr(model, "classes_", ())  # a list of arrays where it says several things at once
        write_class_names(folder, () if isinstance(classes, list) else classes)
    return versions("onnxruntime", "scikit-learn", "skl2onnx")


def _load(source: Path) -> Any:
    import joblib
    from sklearn.base import BaseEstimator

    try:
        model = joblib.load(source)  # plain pickles too
    except Exception as error:  # unpickling raises anything
        raise ConversionError(
            f"it cannot be unpickled: {type(error).__name__}: {error}",
            hint=f"install what it was made with; or {_AS_ONNX}",
        ) from error
    if not isinstance(model, BaseEstimator):
        raise ConversionError(
            f"it holds a {type(model).__name__}, not a model of scikit-learn",
            hint="pickle the fitted model or pipeline",
        )
    return model


def _features(model: Any, shapes: Mapping[str, Any]) -> int:
    stated = next(iter(shapes.values()), None)
    if stated is not None:
        return int(stated[-1])
    count = getattr(model, "n_features_in_", None)
    if count is None:
        raise ConversionError(
            "it does not say how many features it takes", hint="fit it first; or state --input-shape X=1,FEATURES"
        )
    return int(count)


def _as_onnx(model: Any, features: int) -> bytes:
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
    try:
        converted = skl2onnx.to_onnx(
            model, initial_types=[("X", FloatTensorType([1, features]))], options=options, target_opset=_OPSET
        )
    except (MissingConverter, MissingShapeCalculator) as error:
        named = str(error).partition("type '")[2].partition("'")[0] or type(model).__name__
        raise ConversionError(
            f"skl2onnx does not convert {named.removeprefix('<class ').strip()}",
            hint="use another kind of model in its place",
        ) from error
    except Exception as error:  # it checks little before it computes
        raise ConversionError(
            f"skl2onnx cannot convert {type(model).__name__}: {str(error).strip().splitlines()[0]}",
            hint="a pipeline is converted if it takes one table of numbers, and is fitted",
        ) from error
    content: bytes = converted.SerializeToString()
    return content


def _answer_by_sklearn(model: Any, folder: Path) -> None:
    """Replace ONNX Runtime's answers by those of scikit-learn, where it has one function that gives them."""
    answer = _function(model)
    with np.load(folder / REFERENCE_NAME) as stored:
        arrays = {name: stored[name] for name in stored.files}
    inputs = {name: array for name, array in arrays.items() if name.startswith("in:")}
    outputs = [name for name in arrays if name.startswith("out:")]
    if answer is None or len(inputs) != 1 or len(outputs) != 1:
        return
    rows = next(iter(inputs.values()))
    told = [np.asarray(answer(row)).reshape(arrays[outputs[0]].shape[1:]) for row in rows]
    write_reference(
        folder,
        {name.removeprefix("in:"): list(array) for name, array in inputs.items()},
        {outputs[0].removeprefix("out:"): told},
    )


def _function(model: Any) -> Callable[[Any], Any] | None:
    for name in ("predict_proba", "decision_function", "predict", "transform"):
        found: Callable[[Any], Any] | None = getattr(model, name, None)
        if found is not None:
            return found if name != "decision_function" else None  # ONNX has a score for each class, also of two
    return None


if __name__ == "__main__":
    answer_parent("converter.frontends.sklearn", _convert)
