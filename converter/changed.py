"""Which samples the converted model answers otherwise than the float one: for people to look at.

Runs models, so it is used by the child that compares them (`evaluate_child`), which leaves the examples in a file.
"""

import base64
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from converter.report.sections import ChangedAnswer
from converter.samples import Dataset
from converter.thumbnail import thumbnail_of_inputs
from edge_agent.errors import EdgeError
from edge_agent.inference.model import Model
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array

CHANGED_NAME = "changed.json"
MOST_EXAMPLES = 24
_NAMED = 3  # predictions of an answer


def write_changed(original: Model, converted: Model, data: Dataset, agreeing: Sequence[bool], folder: Path) -> None:
    """Leave the first examples that do not agree in `folder`. `agreeing`: of every sample, in their order."""
    (folder / CHANGED_NAME).unlink(missing_ok=True)
    if original.manifest.state:  # an answer is of all samples before it: one alone shows nothing
        return
    chosen = [number for number, same in enumerate(agreeing) if not same][:MOST_EXAMPLES]
    if not chosen:
        return
    sides = (data.inputs(model.engine.inputs) for model in (original, converted))
    examples = [
        {
            "sample": name,
            "before": _answer(original, before),
            "after": _answer(converted, after),
            "picture_png": thumbnail_of_inputs(original, before),
        }
        for number, (name, before, after) in enumerate(islice(zip(data.names, *sides, strict=True), chosen[-1] + 1))
        if number in chosen
    ]
    (folder / CHANGED_NAME).write_text(json.dumps(examples), encoding="utf-8")


def read_changed(folder: Path) -> tuple[ChangedAnswer, ...]:
    """What `write_changed` has left there; nothing where it was not asked."""
    path = folder / CHANGED_NAME
    if not path.is_file():
        return ()
    return tuple(
        ChangedAnswer(
            example["sample"],
            example["before"],
            example["after"],
            base64.b64decode(example["picture_png"]) if example["picture_png"] else None,
        )
        for example in json.loads(path.read_text(encoding="utf-8"))
    )


def _answer(model: Model, inputs: Sequence[Array]) -> str:
    prepared = Prepared(tuple(inputs))
    try:
        found = model.decode(model.invoke(prepared), prepared)
    except EdgeError as error:
        return str(error)
    return ", ".join(_said(prediction) for prediction in found[:_NAMED]) or "nothing"


def _said(prediction: Prediction) -> str:
    if prediction.value is not None:
        unit = f" {prediction.unit}" if prediction.unit else ""
        return f"{prediction.label or prediction.index}: {prediction.value:.4g}{unit}"
    if prediction.share is not None:
        return f"{prediction.label or prediction.index} {prediction.share:.1%}"
    return f"{prediction.label or prediction.index} {prediction.score:.2f}"
