"""Numbers with names and units, and numbers as they are."""

import math
from pathlib import Path

import numpy as np
import pytest

from edge_agent.errors import ModelError, Reason
from edge_agent.inference.model import assemble
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import TensorInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Array, Quantization, TensorSpec
from tests.sim.artifact import make_members

FLOAT = np.dtype(np.float32)
ANGLE = TensorSpec("angle", (1, 2), FLOAT)
SPEED = TensorSpec("speed", (1, 1), np.dtype(np.int8), Quantization(0.5, -10))
NOW = Prepared()
OUTPUTS: list[Array] = [np.array([[1.5, -2.0]], np.float32), np.array([[10]], np.int8)]  # the second is 10.0


def test_values_have_names_a_unit_and_their_own_scale() -> None:
    spec = OutputSpec(names=("pan", "tilt"), unit="deg", scale=180.0, offset=1.0)
    found = build_decoder("regression", spec, (ANGLE,), ()).decode(OUTPUTS[:1], NOW)
    assert found == [
        Prediction(0, 1.0, "pan", value=271.0, unit="deg"),
        Prediction(1, 1.0, "tilt", value=-359.0, unit="deg"),
    ]
    assert found[0].to_json() == {"label": "pan", "index": 0, "score": 1.0, "value": 271.0, "unit": "deg"}


def test_several_outputs_are_read_one_after_the_other_and_have_their_names() -> None:
    found = build_decoder("regression", OutputSpec(), (ANGLE, SPEED), ()).decode(OUTPUTS, NOW)
    assert [(each.index, each.label, each.value) for each in found] == [
        (0, "angle", 1.5), (1, "angle", -2.0), (2, "speed", 10.0),
    ]  # fmt: skip


def test_labels_are_names_where_the_manifest_has_none() -> None:
    found = build_decoder("regression", OutputSpec(), (ANGLE,), ("x", "y")).decode(OUTPUTS[:1], NOW)
    assert [each.label for each in found] == ["x", "y"]


def test_output_order_chooses_the_outputs_that_are_told() -> None:
    spec = OutputSpec(output_order=(1,), names=("speed of the belt",), unit="m/s")
    found = build_decoder("regression", spec, (ANGLE, SPEED), ()).decode(OUTPUTS, NOW)
    assert found == [Prediction(0, 1.0, "speed of the belt", value=10.0, unit="m/s")]
    with pytest.raises(ModelError, match="the model has 2 outputs") as caught:
        build_decoder("regression", OutputSpec(output_order=(2,)), (ANGLE, SPEED), ())
    assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize("task", ["regression", "raw"])
def test_other_names_than_values_are_refused_with_both_numbers(task: str) -> None:
    with pytest.raises(ModelError, match=r"gives 2 values .*there are 3 names") as caught:
        build_decoder(task, OutputSpec(names=("a", "b", "c")), (ANGLE,), ())  # type: ignore[arg-type]  # of both
    assert caught.value.reason is Reason.LABELS_MISMATCH


def test_a_picture_is_no_regression() -> None:
    with pytest.raises(ModelError, match="at most 1000 values; this model gives 3000") as caught:
        build_decoder("regression", OutputSpec(), (TensorSpec("map", (1, 3000), FLOAT),), ())
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_raw_values_are_given_as_they_are_and_not_too_many() -> None:
    tensors = (ANGLE, TensorSpec("map", (1, 3000), np.dtype(np.int64)))
    found = build_decoder("raw", OutputSpec(), tensors, ()).decode([OUTPUTS[0], np.arange(3000).reshape(1, -1)], NOW)
    assert found[:3] == [
        Prediction(0, 1.0, "angle", value=1.5),
        Prediction(1, 1.0, "angle", value=-2.0),
        Prediction(0, 1.0, "map", value=0.0),
    ]
    assert len(found) == 1000


def test_raw_values_may_have_names_across_outputs() -> None:
    spec = OutputSpec(names=("x", "y", "v"))
    found = build_decoder("raw", spec, (ANGLE, SPEED), ()).decode(OUTPUTS, NOW)
    assert [(each.index, each.label, each.value) for each in found] == [(0, "x", 1.5), (1, "y", -2.0), (0, "v", 10.0)]


def test_raw_has_no_use_for_labels() -> None:
    with pytest.raises(ModelError, match="no use for labels") as caught:
        build_decoder("raw", OutputSpec(), (ANGLE,), ("x", "y"))
    assert caught.value.reason is Reason.LABELS_MISMATCH


@pytest.mark.parametrize("task", ["regression", "raw"])
def test_values_that_are_no_numbers_are_the_models_fault(task: str) -> None:
    decoder = build_decoder(task, OutputSpec(), (ANGLE,), ())  # type: ignore[arg-type]  # of both
    with pytest.raises(ModelError, match="angle not as numbers") as caught:
        decoder.decode([np.array([[0.0, np.nan]], np.float32)], NOW)
    assert caught.value.reason is Reason.TRIAL_ERRORS


@pytest.mark.parametrize("wrong", [{"scale": math.nan}, {"offset": math.inf}])
def test_scale_and_offset_are_finite(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        OutputSpec(**wrong)  # type: ignore[arg-type]  # both are floats


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "largest_error"), [("sine_float", 0.0421), ("sine_int8", 0.1161)])
def test_a_model_of_the_sine_tells_it_with_its_unit(shared_data: Path, name: str, largest_error: float) -> None:
    spec = OutputSpec(names=("swing",), unit="mm", scale=10.0)
    members = make_members(b"x", task="regression", source=TensorInput(), output=spec)
    x = np.linspace(0, 2 * np.pi, 100)
    found = []
    path = shared_data / f"models/sensor/{name}.tflite"
    with assemble(parse_manifest(members["manifest.json"]), (), open_engine(path)) as model:
        for value in x:
            prepared = model.prepare_tensors([value])
            (prediction,) = model.decode(model.invoke(prepared), prepared)
            assert (prediction.label, prediction.unit, prediction.score) == ("swing", "mm", 1.0)
            found.append(prediction.value)
    assert np.abs(np.array(found) / 10 - np.sin(x)).max() == pytest.approx(largest_error, abs=0.01)


@pytest.mark.parametrize("task", ["regression", "raw"])
@pytest.mark.parametrize("outputs", [(), (TensorSpec("text", (1,), np.dtype(object)),)])
def test_a_model_without_outputs_of_numbers_is_incompatible(task: str, outputs: tuple[TensorSpec, ...]) -> None:
    with pytest.raises(ModelError, match="needs outputs of numbers") as caught:
        build_decoder(task, OutputSpec(), outputs, ())  # type: ignore[arg-type]  # of both
    assert caught.value.reason is Reason.INCOMPATIBLE
