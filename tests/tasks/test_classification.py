"""Classes with scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.classification import scores
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Quantization, TensorSpec

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


@pytest.mark.parametrize("count", [3, 5, 1])
def test_a_wrong_number_of_labels_is_refused_with_both_numbers(count: int) -> None:
    with pytest.raises(ModelError, match=f"4 classes.*{count} labels") as caught:
        build_decoder("classification", OutputSpec(), (FLOAT,), ("x",) * count)
    assert caught.value.reason is Reason.LABELS_MISMATCH
    assert caught.value.hint


@pytest.mark.parametrize("shape", [(2, 4), (1, 2, 4), ()])
def test_an_output_that_is_no_row_of_scores_is_incompatible(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        build_decoder("classification", OutputSpec(), (TensorSpec("map", shape, np.dtype(np.float32)),), ())
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_two_outputs_are_incompatible() -> None:
    with pytest.raises(ModelError, match="one output"):
        build_decoder("classification", OutputSpec(), (FLOAT, FLOAT), LABELS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_the_models_fault(value: float) -> None:
    decoder = build_decoder("classification", OutputSpec(), (FLOAT,), LABELS)
    with pytest.raises(ModelError, match="not numbers"):
        decoder.decode([np.array([[0, value, 0, 0]], np.float32)], Prepared())


def test_raw_values_are_given_as_they_are_and_not_too_many() -> None:
    tensors = (TensorSpec("angle", (1, 2), np.dtype(np.float32)), TensorSpec("map", (1, 3000), np.dtype(np.int64)))
    found = build_decoder("raw", OutputSpec(), tensors, ()).decode(
        [np.array([[1.5, -2.0]], np.float32), np.arange(3000).reshape(1, -1)], Prepared()
    )
    assert found[:3] == [Prediction(0, 1.5, "angle"), Prediction(1, -2.0, "angle"), Prediction(0, 0.0, "map")]
    assert len(found) == 1000


def test_raw_has_no_use_for_labels() -> None:
    with pytest.raises(ModelError, match="no use for labels") as caught:
        build_decoder("raw", OutputSpec(), (FLOAT,), LABELS)
    assert caught.value.reason is Reason.LABELS_MISMATCH


def test_raw_values_that_are_no_numbers_are_the_models_fault() -> None:
    with pytest.raises(ModelError, match="scores"):
        build_decoder("raw", OutputSpec(), (FLOAT,), ()).decode([np.full((1, 4), np.nan, np.float32)], Prepared())
