"""Sound becomes windows, and windows tensors."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import FrameError, ModelError, Reason
from edge_agent.release.inputs import AudioInput
from edge_agent.transform.audio import AudioTransform, AudioWindower
from edge_agent.transform.tensor import Quantization, TensorSpec
from tests.sim.sound import counted, tone

FLOAT = np.dtype(np.float32)
SMALL: Any = {"window": 1_000, "stride": 500, "frame": 400, "hop": 200, "bins": 8}


def tensor(*shape: int, dtype: Any = np.float32, q: Quantization | None = None) -> TensorSpec:
    return TensorSpec("sound", shape, np.dtype(dtype), q)


# --- tensors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "shape"),
    [
        ("waveform", (1, 1000)), ("waveform", (1000,)), ("waveform", (1, 1000, 1)), ("spectrogram", (1, 4, 257)),
        ("log_mel", (1, 4, 8, 1)), ("mfcc", (1, 32)), ("micro_frontend", (1, 1, 4, 8)), ("micro_frontend", (32,)),
    ],
)  # fmt: skip
def test_features_fill_every_shape_of_their_order(features: Any, shape: tuple[int, ...]) -> None:
    array = AudioTransform(AudioInput(features=features, **SMALL), tensor(*shape)).apply(tone(440, 1_000))
    assert array.shape == shape
    assert array.dtype == np.float32
    assert np.isfinite(array).all()


@pytest.mark.parametrize("shape", [(1, 8, 4), (1, 31), (2, 4, 8), (1, 4, 257), (), (1, 1000)])
def test_another_order_or_size_is_incompatible(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="4 frames of 8 values") as caught:
        AudioTransform(AudioInput(features="log_mel", **SMALL), tensor(*shape))
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


def test_a_waveform_of_another_length_is_incompatible() -> None:
    with pytest.raises(ModelError, match=r"1064 samples; this model takes sound float32\[1,1000\]"):
        AudioTransform(AudioInput(window=1_000, context=64), tensor(1, 1000))


def test_text_is_no_input_for_sound() -> None:
    with pytest.raises(ModelError, match="needs numbers"):
        AudioTransform(AudioInput(window=1_000), tensor(1, 1000, dtype=np.bool_))


def test_the_mean_has_one_value_or_one_a_bin() -> None:
    for mean, fits in (((1.0,), True), ((1.0,) * 8, True), ((1.0,) * 4, False)):
        spec = AudioInput(features="log_mel", mean=mean, std=(2.0,), **SMALL)
        if fits:
            plain = AudioTransform(AudioInput(features="log_mel", **SMALL), tensor(1, 4, 8)).apply(tone(440, 1_000))
            scaled = AudioTransform(spec, tensor(1, 4, 8)).apply(tone(440, 1_000))
            assert scaled == pytest.approx((plain - 1) / 2, abs=1e-6)
            continue
        with pytest.raises(ModelError, match="1 or 8 values of mean are needed, found 4"):
            AudioTransform(spec, tensor(1, 4, 8))


@pytest.mark.parametrize(
    ("change", "said"),
    [({"frame": 30, "fft": 32}, "found 32"), ({"fft": 500}, "found 500"), ({"high_hz": 8_000.0}, "high_hz below 8000")],
)
def test_what_the_micro_front_end_cannot_do_is_incompatible(change: dict[str, Any], said: str) -> None:
    spec = AudioInput(features="micro_frontend", **{**SMALL, **change})
    frames = 1 + (spec.window - spec.frame) // spec.hop
    with pytest.raises(ModelError, match=said) as caught:
        AudioTransform(spec, tensor(1, frames, 8))
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_samples_are_quantized_as_the_tensor_stores_them() -> None:
    spec = AudioInput(window=4, stride=4)
    samples = np.array([-1.0, -0.25, 0.0, 0.5], np.float32)
    stored = AudioTransform(spec, tensor(1, 4, dtype=np.int8, q=Quantization(1 / 128, 3))).apply(samples)
    assert stored.tolist() == [[-125, -29, 3, 67]]


@pytest.mark.parametrize(
    ("amplitude", "expected"),
    [("unit", [-1.0, 0.0, 0.5]), ("int16", [-32768.0, 0.0, 16384.0]), ("peak", [-2.0, 0.0, 1.0])],
)
def test_the_amplitude_is_what_the_model_was_trained_on(amplitude: Any, expected: list[float]) -> None:
    spec = AudioInput(window=3, stride=3, amplitude=amplitude)
    assert AudioTransform(spec, tensor(3)).apply(np.array([-1, 0, 0.5], np.float32)).tolist() == expected


def test_silence_has_no_peak_and_stays_silence() -> None:
    spec = AudioInput(window=3, stride=3, amplitude="peak")
    assert AudioTransform(spec, tensor(3)).apply(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("samples", [np.zeros(999), np.zeros((1000, 1)), np.zeros(0)])
def test_another_number_of_samples_is_a_frame_error(samples: Any) -> None:
    with pytest.raises(FrameError, match="1000 samples"):
        AudioTransform(AudioInput(window=1_000), tensor(1, 1000)).apply(samples)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_a_frame_error(value: float) -> None:
    samples = np.zeros(1_000, np.float32)
    samples[500] = value
    with pytest.raises(FrameError, match="not finite"):
        AudioTransform(AudioInput(features="mfcc", **SMALL), tensor(1, 4, 8)).apply(samples)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"features": "mfcc", "bins": 13, "mel_bins": 12}, "mfcc keeps 13"),
        ({"features": "log_mel", "log_offset": 0.0}, "log_offset"),
        ({"features": "log_mel", "sample_rate_hz": 4_000}, "sample_rate_hz / 2"),
        ({"features": "spectrogram", "frame": 513}, "fft must be"),
        ({"features": "spectrogram", "window": 479}, "longer than the window"),
        ({"context": -1}, "context"),
        ({"stride": 0}, "stride"),
    ],
)
def test_an_input_that_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AudioInput(**wrong)


def test_a_waveform_needs_no_band() -> None:
    assert AudioInput(sample_rate_hz=4_000).features == "waveform"


# --- windows ------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 12), st.integers(1, 20), st.integers(0, 5), st.lists(st.integers(0, 25), max_size=10)
)  # fmt: skip
def test_windows_are_slices_however_the_sound_comes(window: int, stride: int, context: int, sizes: list[int]) -> None:
    windower = AudioWindower(AudioInput(window=window, stride=stride, context=context))
    samples = counted(sum(sizes)) + np.float32(1)
    ends = np.cumsum([0, *sizes])
    found = [one for begin, end in pairwise(ends) for one in windower.push(samples[begin:end])]
    before = np.concatenate([np.zeros(context, np.float32), samples])
    begins = range(0, len(samples) - window + 1, stride)
    assert [one.tolist() for one in found] == [before[begin : begin + context + window].tolist() for begin in begins]


def test_a_gap_begins_a_window_anew_with_silence_before_it() -> None:
    windower = AudioWindower(AudioInput(window=3, stride=3, context=2))
    assert windower.push(counted(5, 1))[0].tolist() == [0, 0, *counted(3, 1)]
    windower.clear()
    assert windower.push(counted(4, 100))[0].tolist() == [0, 0, *counted(3, 100)]
    assert windower.push(counted(2, 104))[0].tolist() == counted(5, 101).tolist()


def test_what_is_shorter_than_a_window_is_filled_up_with_silence() -> None:
    windower = AudioWindower(AudioInput(window=4, stride=2, context=1))
    assert windower.finish() == []
    windower.push(counted(3, 1))
    assert [one.tolist() for one in windower.finish()] == [[0, *counted(3, 1), 0]]


def test_the_rest_behind_a_whole_window_is_left_out() -> None:
    windower = AudioWindower(AudioInput(window=4, stride=2))
    assert len(windower.push(counted(5))) == 1
    assert windower.finish() == []


def test_a_window_does_not_change_when_more_sound_comes() -> None:
    windower = AudioWindower(AudioInput(window=2, stride=1))
    block = counted(2, 1)
    first = windower.push(block)[0]
    block[:] = 9
    windower.push(counted(5))
    assert first.tolist() == counted(2, 1).tolist()
