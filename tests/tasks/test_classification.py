"""Classes with scores."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.classification import best_first, scores
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Quantization, TensorSpec, dequantize

FLOAT = TensorSpec("scores", (1, 4), np.dtype(np.float32))
UINT8 = TensorSpec("scores", (1, 4), np.dtype(np.uint8), Quantization(1 / 256, 0))
LABELS = ("cat", "dog", "bird", "fish")
VALUES = np.array([[0.25, 0.5, 0.0, 0.25]], np.float32)


def test_the_best_class_comes_first_and_equal_ones_keep_their_order() -> None:
    decoder = build_decoder("classification", OutputSpec(), (FLOAT,), LABELS)
    found = decoder.decode([VALUES], Prepared())
    assert [prediction.label for prediction in found] == ["dog", "cat", "fish", "bird"]
    assert found[0] == Prediction(1, 0.5, "dog")


def test_top_k_and_threshold_shorten_the_list() -> None:
    spec = OutputSpec(top_k=2, score_threshold=0.3)
    assert len(build_decoder("signal_classification", spec, (FLOAT,), LABELS).decode([VALUES], Prepared())) == 1


def test_five_classes_are_given_where_nothing_is_said() -> None:
    tensor = TensorSpec("scores", (1, 9), np.dtype(np.float32))
    found = build_decoder("classification", OutputSpec(), (tensor,), ()).decode(
        [np.zeros((1, 9), np.float32)], Prepared()
    )
    assert [(prediction.index, prediction.label) for prediction in found] == [(index, None) for index in range(5)]


def test_quantized_scores_are_real_ones() -> None:
    stored = np.array([[64, 128, 0, 64]], np.uint8)
    decoder = build_decoder("classification", OutputSpec(), (UINT8,), LABELS)
    assert [prediction.score for prediction in decoder.decode([stored], Prepared())] == [0.5, 0.25, 0.25, 0.0]


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20))
def test_softmax_and_sigmoid_keep_the_order_and_stay_within_0_and_1(values: list[float]) -> None:
    real = np.array(values, np.float32)
    softmax, sigmoid = scores(real, "softmax"), scores(real, "sigmoid")
    assert softmax.sum() == pytest.approx(1.0, abs=1e-4)
    for found in (softmax, sigmoid):
        assert ((found >= 0) & (found <= 1)).all()
        assert (np.diff(found[np.argsort(real, kind="stable")]) >= 0).all()
    assert scores(np.zeros(1, np.float32), "sigmoid")[0] == 0.5


@pytest.mark.parametrize(
    ("count", "advice"),
    [
        (3, "the model most likely has a background class"),
        (5, "most likely the label of a background class"),
        (1, "the label file this model was trained with"),
        (40, "the label file this model was trained with"),
    ],
)
def test_a_wrong_number_of_labels_is_refused_with_both_numbers_and_advice(count: int, advice: str) -> None:
    with pytest.raises(ModelError, match=f"4 classes.*{count} label") as caught:
        build_decoder("classification", OutputSpec(), (FLOAT,), ("x",) * count)
    assert caught.value.reason is Reason.LABELS_MISMATCH
    assert advice in str(caught.value.hint)


def test_a_model_with_one_score_has_one_label() -> None:
    one = TensorSpec("scores", (1, 1), np.dtype(np.float32))
    with pytest.raises(ModelError, match="has one score; there are 2 labels") as caught:
        build_decoder("classification", OutputSpec(), (one,), ("no", "yes"))
    assert "one label" in str(caught.value.hint)


def test_the_background_class_is_left_out_and_takes_no_place() -> None:
    spec = OutputSpec(top_k=2, background_class=1)
    found = build_decoder("classification", spec, (FLOAT,), LABELS).decode([VALUES], Prepared())
    assert [prediction.label for prediction in found] == ["cat", "fish"]


@pytest.mark.parametrize("background", [4, -1])
def test_a_background_class_that_there_is_not_is_incompatible(background: int) -> None:
    with pytest.raises(ModelError, match=f"background_class is {background}; the model has 4 classes") as caught:
        build_decoder("classification", OutputSpec(background_class=background), (FLOAT,), ())
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_with_sigmoid_several_classes_may_be_told_at_once() -> None:
    spec = OutputSpec(activation="sigmoid", score_threshold=0.5)
    decoder = build_decoder("audio_classification", spec, (FLOAT,), LABELS)
    found = decoder.decode([np.array([[2.0, -3.0, 0.5, -0.1]], np.float32)], Prepared())
    assert [prediction.label for prediction in found] == ["cat", "bird"]
    assert [prediction.score for prediction in found] == pytest.approx([0.880797, 0.622459])


@pytest.mark.parametrize("activation", ["none", "softmax", "sigmoid"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
@given(data=st.data())
def test_quantized_outputs_give_what_their_real_values_give(
    data: st.DataObject, dtype: type[np.integer[Any]], activation: Literal["none", "softmax", "sigmoid"]
) -> None:
    limits = np.iinfo(dtype)
    values = st.integers(int(limits.min), int(limits.max))
    stored = np.array([data.draw(st.lists(values, min_size=12, max_size=12))], dtype)
    quantization = Quantization(8 / (int(limits.max) - int(limits.min)), data.draw(values))
    background = data.draw(st.none() | st.integers(0, 11))
    spec = OutputSpec(activation=activation, background_class=background, score_threshold=-100.0)
    tensor = TensorSpec("scores", (1, 12), np.dtype(dtype), quantization)
    found = build_decoder("classification", spec, (tensor,), ()).decode([stored], Prepared())
    real = dequantize(stored, tensor)
    score = scores(real, activation)
    order = [index for index in np.argsort(-stored[0].astype(int), kind="stable") if index != spec.background_class]
    assert [prediction.index for prediction in found] == order[:5]
    assert [prediction.score for prediction in found] == pytest.approx(score[order[:5]].tolist())


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=30), st.integers(1, 40))
def test_the_best_come_first_and_equal_ones_in_their_order(values: list[int], count: int) -> None:
    expected = sorted(range(len(values)), key=lambda position: (-values[position], position))[:count]
    for array in (np.array(values, np.int8), (np.array(values) + 128).astype(np.uint8), np.array(values, np.float32)):
        assert best_first(array, count).tolist() == expected


@pytest.mark.parametrize("shape", [(2, 4), (1, 2, 4), ()])
def test_an_output_that_is_no_row_of_scores_is_incompatible(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        build_decoder("classification", OutputSpec(), (TensorSpec("map", shape, np.dtype(np.float32)),), ())
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_of_two_outputs_that_may_be_scores_the_manifest_names_one() -> None:
    with pytest.raises(ModelError, match="one output") as caught:
        build_decoder("classification", OutputSpec(), (FLOAT, FLOAT), LABELS)
    assert "output_order" in str(caught.value.hint)
    second = build_decoder("classification", OutputSpec(output_order=(1,)), (FLOAT, FLOAT), LABELS)
    assert second.decode([VALUES, VALUES[:, ::-1]], Prepared())[0].label == "bird"


def test_of_several_outputs_the_only_row_of_scores_is_taken() -> None:
    spectrogram = TensorSpec("spectrogram", (1, 96, 64), np.dtype(np.float32))
    decoder = build_decoder("audio_classification", OutputSpec(), (spectrogram, FLOAT), LABELS)
    assert decoder.decode([np.zeros((1, 96, 64), np.float32), VALUES], Prepared())[0].label == "dog"


@pytest.mark.parametrize("order", [(2,), (0, 1), (1,)])
def test_an_output_order_that_names_no_scores_is_incompatible(order: tuple[int, ...]) -> None:
    spectrogram = TensorSpec("spectrogram", (1, 96, 64), np.dtype(np.float32))
    with pytest.raises(ModelError, match="told by output_order") as caught:
        build_decoder("classification", OutputSpec(output_order=order), (FLOAT, spectrogram), LABELS)
    assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_the_models_fault(value: float) -> None:
    decoder = build_decoder("classification", OutputSpec(), (FLOAT,), LABELS)
    with pytest.raises(ModelError, match="not numbers"):
        decoder.decode([np.array([[0, value, 0, 0]], np.float32)], Prepared())
