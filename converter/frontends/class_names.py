"""Names of classes that a source itself says, left by its front-end beside the model.

Numbers from 0 on are left out: they say no more than the places of the scores.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converter.frontends.onnx_model.ends import Ends
from converter.frontends.onnx_model.model import OnnxModel
from converter.tflite_schema import Graph

_NAME = "classes.json"
_SUM_TOLERANCE = 1e-3
_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")  # ai.onnx.ml


def write_class_names(folder: Path, classes: Sequence[Any]) -> None:
    """Leave the names of the classes whose scores the only output holds, in their order. None: earlier ones go."""
    names = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in classes]
    counted = names == [str(place) for place in range(len(names))]
    (folder / _NAME).write_text(json.dumps([] if counted or len(set(names)) < len(names) else names), encoding="utf-8")


def read_class_names(folder: Path, graph: Graph) -> tuple[str, ...]:
    """What was left there; () where nothing was, or the model does not give one score for each."""
    path = folder / _NAME
    names = tuple(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()
    if len(graph.outputs) != 1 or graph.tensors[graph.outputs[0]].shape[-1:] != (len(names),):
        return ()
    return names


def class_names_of_onnx(model: OnnxModel, ends: Ends) -> Sequence[Any]:
    """Of a classifier as skl2onnx writes it: of the ZipMap that takes the only output, or of what makes that."""
    if len(ends.outputs) != 1:
        return ()
    [scores] = ends.outputs
    for node in model.graph.nodes:
        takes = node.operator == "ZipMap" and node.inputs[:1] == (scores,)
        makes = node.operator.endswith("Classifier") and node.outputs[1:2] == (scores,)
        if takes or makes:
            return next((node.attributes[key] for key in _ATTRIBUTES if node.attributes.get(key)), ())
    return ()


def gives_shares(reference: Path) -> bool:
    """Whether the framework's own answers are probabilities, as those of `predict_proba`: no softmax is missing."""
    with np.load(reference, allow_pickle=False) as stored:
        [scores] = [stored[name] for name in stored.files if name.startswith("out:")]
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=-1), 1, atol=_SUM_TOLERANCE))
