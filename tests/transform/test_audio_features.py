"""Features are those that the models were trained on: compared with what others computed, and with the formulas."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_agent.release.inputs import AudioInput
from edge_agent.transform.audio_features import (
    cepstral_cosines,
    feature_shape,
    hann_window,
    mel_bands,
    new_features,
    to_int16,
)
from edge_agent.transform.fixed_fft import real_fft
from edge_agent.transform.micro_frontend import MicroFrontend
from edge_agent.transform.wav import read_wav
from tests.sim.sound import counted, tone

MICRO = AudioInput(features="micro_frontend", low_hz=125.0, high_hz=7_500.0)
KWS = AudioInput(features="mfcc", bins=10, amplitude="peak")


def features(spec: AudioInput, samples: NDArray[Any]) -> NDArray[np.float64]:
    found = new_features(spec)(samples.astype(np.float64))
    assert found.shape == feature_shape(spec)
    return found


# --- as others have them ------------------------------------------------------------------------------------


@pytest.mark.shared_data
def test_mfcc_is_what_mlperf_tiny_trains_on(shared_data: Path) -> None:
    """Its file has 5 decimals."""
    expected = np.loadtxt(shared_data / "audio/yes_1000ms_mfcc_49x10.csv", delimiter=",")
    assert np.abs(features(KWS, read_wav(shared_data / "audio/yes_1000ms.wav")[0]) - expected).max() < 1e-5


@pytest.mark.shared_data
@pytest.mark.parametrize("word", ["yes", "no"])
def test_the_micro_front_end_is_that_of_tflite_micro_to_the_last_bit(shared_data: Path, word: str) -> None:
    expected = np.loadtxt(shared_data / f"audio/{word}_1000ms_micro_features_49x40_int8.csv", delimiter=",")
    frontend = MicroFrontend(rate_hz=16_000, frame=480, hop=320, fft=512, bins=40, low_hz=125.0, high_hz=7_500.0)
    found = frontend.apply(to_int16(read_wav(shared_data / f"audio/{word}_1000ms.wav")[0].astype(np.float64)))
    # the int8 step of its audio_preprocessor.py
    stored = np.clip((found.astype(int) * 256 + 333) // 666 - 128, -128, 127)
    assert stored.tolist() == expected.tolist()


def test_hann_windows_are_those_of_tensorflow() -> None:
    """Measured with 2.21: even lengths are periodic, odd ones symmetric."""
    assert hann_window(4).tolist() == pytest.approx([0, 0.5, 1, 0.5])
    assert hann_window(5).tolist() == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert hann_window(1).tolist() == [1]


# --- by their formulas --------------------------------------------------------------------------------------


def test_a_tone_is_a_peak_in_its_line_of_the_spectrogram() -> None:
    spec = AudioInput(features="spectrogram", frame=512, hop=160)
    found = features(spec, tone(1_000, 16_000, loud=0.5))
    assert found.shape == (97, 257)
    assert (found.argmax(axis=1) == 32).all()  # 1000 Hz in steps of 31.25
    assert found[:, 32] == pytest.approx(0.5 * 512 / 4, rel=1e-6)  # amplitude x sum of the window / 2
    loud = features(AudioInput(features="spectrogram", frame=512, hop=160, amplitude="int16"), tone(1_000, 16_000))
    assert loud == pytest.approx(found * 32_768, abs=1e-9)


def test_mel_bands_are_triangles_that_meet_at_their_centers() -> None:
    bands = mel_bands(40, 257, 16_000, 20.0, 4_000.0)
    assert bands.shape == (257, 40)
    assert bands.min() == 0
    assert bands.max() <= 1
    assert not bands[0].any()
    assert not bands[129:].any()  # above 4000 Hz
    assert bands.sum(axis=1)[8:120] == pytest.approx(1.0)  # between two centers the two weights make 1
    assert (np.diff(bands.argmax(axis=0)) >= 0).all()


def test_silence_is_the_logarithm_of_the_offset() -> None:
    spec = AudioInput(features="log_mel", log_offset=0.001)
    assert features(spec, np.zeros(16_000)) == pytest.approx(np.log(0.001))


def test_the_first_cepstral_coefficient_is_the_sum_of_the_bands() -> None:
    log_mel = features(AudioInput(features="log_mel"), tone(440, 16_000))
    mfcc = features(AudioInput(features="mfcc", bins=40), tone(440, 16_000))
    assert mfcc[:, 0] == pytest.approx(log_mel.sum(axis=1) * np.sqrt(2 / 40))
    cosines = cepstral_cosines(40)
    assert cosines[:, 1:].T @ cosines[:, 1:] == pytest.approx(np.eye(39), abs=1e-12)


def test_int16_samples_come_back_as_they_were() -> None:
    every = np.arange(-32_768, 32_768)
    assert to_int16(every / 32_768).tolist() == every.tolist()
    assert to_int16(np.array([-2.0, 2.0])).tolist() == [-32_768, 32_767]


# --- in whole numbers ---------------------------------------------------------------------------------------


@given(st.sampled_from([64, 128, 256, 512, 1024, 2048]), st.integers(0, 2**32 - 1), st.integers(1, 32_767))
def test_the_fixed_fft_is_a_fourier_transform_but_for_its_rounding(size: int, seed: int, loud: int) -> None:
    values = np.random.default_rng(seed).integers(-loud, loud, (3, size), endpoint=True)
    real, imaginary = real_fft(values)
    expected = np.fft.rfft(values) / size
    assert np.abs(real + 1j * imaginary - expected).max() < 8


def test_features_of_the_micro_front_end_depend_on_nothing_but_the_window() -> None:
    apply = new_features(MICRO)
    first = apply(tone(440, 16_000).astype(np.float64))
    apply(np.random.default_rng(0).uniform(-1, 1, 16_000))
    assert apply(tone(440, 16_000).astype(np.float64)).tolist() == first.tolist()


def test_silence_is_zero_in_the_micro_front_end() -> None:
    assert not features(MICRO, np.zeros(16_000)).any()


@pytest.mark.parametrize("samples", [np.full(16_000, -1.0), counted(16_000) - 0.5, np.tile([-1.0, 1.0], 8_000)])
def test_the_loudest_sound_overflows_nothing(samples: NDArray[Any]) -> None:
    found = features(MICRO, samples)
    assert found.min() >= 0
    assert found.max() < 50


@pytest.mark.parametrize("fft", [64, 256, 1024, 2048])
def test_every_size_of_the_micro_front_end_finds_the_tone(fft: int) -> None:
    frame = min(fft, 480)
    spec = AudioInput(features="micro_frontend", frame=frame, fft=fft, bins=10, low_hz=125.0, high_hz=7_000.0)
    assert set(features(spec, tone(3_000, 16_000)).argmax(axis=1)[:3]) <= {6, 7}
