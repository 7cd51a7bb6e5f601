"""How badly an input was reconstructed, and what that says."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import ModelError, Reason
from edge_agent.release.outputs import OutputSpec
from edge_agent.tasks.anomaly import AnomalyDecoder, samples_needed, score_of, threshold_of
from edge_agent.tasks.decoder import build_decoder
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.prepared import Prepared
from edge_agent.transform.tensor import Quantization, TensorSpec

FLOAT = np.dtype(np.float32)
WINDOW = TensorSpec("window", (1, 4), FLOAT)
COPY = TensorSpec("copy", (1, 4, 1), FLOAT)
SEEN = Prepared((np.array([[1.0, 2.0, 3.0, 4.0]], np.float32),))


def decoder_of(*, labels: tuple[str, ...] = (), **spec: Any) -> AnomalyDecoder:
    decoder = build_decoder("anomaly", OutputSpec(**spec), (COPY,), labels, (WINDOW,))
    assert isinstance(decoder, AnomalyDecoder)
    return decoder


def off_by(*by: float) -> list[np.ndarray[Any, Any]]:
    return [(SEEN.inputs[0] + np.array(by, np.float32)).reshape(1, 4, 1)]


def test_the_error_is_measured_in_real_values_of_the_input() -> None:
    assert decoder_of().error(off_by(0, 0, 2, 0), SEEN) == 1.0
    assert decoder_of(error="mae").error(off_by(0, 0, -2, 0), SEEN) == 0.5


def test_quantized_tensors_are_compared_as_what_they_stand_for() -> None:
    taken = TensorSpec("window", (1, 4), np.dtype(np.int8), Quantization(0.5, -128))
    given_back = TensorSpec("copy", (1, 4), np.dtype(np.uint8), Quantization(0.25, 0))
    decoder = build_decoder("anomaly", OutputSpec(error="mae"), (given_back,), (), (taken,))
    outputs = [np.array([[4, 8, 12, 20]], np.uint8)]  # 1, 2, 3, 5
    seen = Prepared((np.array([[-126, -124, -122, -120]], np.int8),))  # 1, 2, 3, 4
    assert decoder.decode(outputs, seen) == [Prediction(0, 1.0, None, value=0.25)]


def test_above_the_threshold_it_is_an_anomaly_and_at_it_not_yet() -> None:
    decoder = decoder_of(threshold=1.0)
    assert decoder.decode(off_by(0, 0, 2, 0), SEEN) == [Prediction(0, 0.5, "normal", value=1.0)]
    assert decoder.decode(off_by(0, 0, 0, 0), SEEN) == [Prediction(0, 0.0, "normal", value=0.0)]
    assert decoder.decode(off_by(2, 2, 2, 0), SEEN) == [Prediction(1, 0.75, "anomaly", value=3.0)]


def test_a_score_threshold_of_a_half_tells_anomalies_only() -> None:
    decoder = decoder_of(threshold=1.0, score_threshold=0.51, labels=("fine", "worn"))
    assert decoder.decode(off_by(0, 0, 1, 0), SEEN) == []
    assert [each.label for each in decoder.decode(off_by(2, 2, 2, 0), SEEN)] == ["worn"]


def test_without_a_threshold_only_the_error_is_told() -> None:
    assert decoder_of().decode(off_by(0, 0, 2, 0), SEEN) == [Prediction(0, 1.0, None, value=1.0)]


def test_a_model_may_give_the_error_itself() -> None:
    error = TensorSpec("error", (1, 1), FLOAT)
    decoder = build_decoder("anomaly", OutputSpec(error="output", threshold=2.0), (COPY, error), (), (WINDOW,))
    found = decoder.decode([*off_by(0, 0, 0, 0), np.array([[6.0]], np.float32)], SEEN)
    assert found == [Prediction(1, 0.75, "anomaly", value=6.0)]


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6))
def test_the_score_grows_with_the_error_and_is_a_half_at_the_threshold(error: float, threshold: float) -> None:
    score = score_of(error, threshold)
    assert 0 <= score <= 1
    assert score_of(threshold, threshold) == 0.5
    assert (score > 0.5) == (error > threshold) or math.isclose(error, threshold)
    assert score_of(error + abs(error), threshold) >= score


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_reconstruction_that_is_no_number_is_the_models_fault(wrong: float) -> None:
    with pytest.raises(ModelError, match="not numbers") as caught:
        decoder_of(threshold=1.0).decode(off_by(0, 0, wrong, 0), SEEN)
    assert caught.value.reason is Reason.TRIAL_ERRORS


@pytest.mark.parametrize(
    ("outputs", "spec"),
    [
        ((TensorSpec("copy", (1, 3), FLOAT),), {}),
        ((COPY, COPY), {}),
        ((COPY,), {"error": "output"}),
        ((COPY,), {"output_order": (1,)}),
    ],
)
def test_an_output_that_is_no_copy_of_the_input_is_incompatible(
    outputs: tuple[TensorSpec, ...], spec: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=r"task anomaly .*needs one output") as caught:
        build_decoder("anomaly", OutputSpec(**spec), outputs, (), (WINDOW,))
    assert caught.value.reason is Reason.INCOMPATIBLE


@pytest.mark.parametrize("threshold", [0.0, -1.0, math.inf, math.nan])
def test_a_threshold_is_more_than_0(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold must be more than 0"):
        OutputSpec(threshold=threshold)


@pytest.mark.parametrize("count", [1, 3])
def test_other_than_two_labels_are_refused_with_their_number(count: int) -> None:
    with pytest.raises(ModelError, match=f"two classes; there (is|are) {count} label") as caught:
        decoder_of(labels=("x",) * count)
    assert caught.value.reason is Reason.LABELS_MISMATCH


def test_a_threshold_is_an_error_that_few_normal_samples_exceed() -> None:
    errors = [float(error) for error in range(1, 100)]
    assert threshold_of(errors, 0.1) == 90.0
    assert threshold_of(errors[::-1], 0.01) == 99.0


def test_too_few_samples_give_the_largest_error_and_half_as_much_again() -> None:
    assert samples_needed(0.01) == 99
    assert samples_needed(0.005) == 199
    assert threshold_of([1.0, 2.0], 0.01) == 3.0
    assert threshold_of([0.0, 0.0], 0.5) > 0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=400), st.floats(0.001, 0.5))
def test_no_more_calibration_samples_exceed_the_threshold_than_asked_for(errors: list[float], share: float) -> None:
    threshold = threshold_of(errors, share)
    assert sum(error > threshold for error in errors) <= share * (len(errors) + 1)


def test_new_normal_samples_exceed_it_as_seldom_as_promised() -> None:
    generator = np.random.default_rng(3)
    exceeded = 0
    for _ in range(2000):
        errors = generator.lognormal(size=100)
        exceeded += errors[-1] > threshold_of(errors[:-1].tolist(), 0.05)
    assert exceeded / 2000 == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("errors", [[], [1.0, math.nan], [math.inf]])
def test_errors_that_are_none_give_no_threshold(errors: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        threshold_of(errors, 0.01)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="share of false alarms"):
        threshold_of([1.0], share)
