"""Real keyword models hear real words, from the WAV file to the answer (`expected.json` of the shared data)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.sources import WavSource
from edge_agent.inference.frame import Sound, Wanted
from edge_agent.inference.model import Model, assemble
from edge_agent.inference.sound import SoundFeed
from edge_agent.inference.sources.source import new_source
from edge_agent.inference.tflite import open_engine
from edge_agent.release.inputs import AudioInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.tasks.prediction import Prediction
from edge_agent.transform.resample import Resampler
from edge_agent.transform.wav import read_wav
from tests.sim.artifact import make_members
from tests.sim.sound import Samples, write_wav

pytestmark = pytest.mark.shared_data

KWS = AudioInput(features="mfcc", bins=10, amplitude="peak", stride=16_000)
MICRO = AudioInput(features="micro_frontend", low_hz=125.0, high_hz=7_500.0, stride=16_000)
MICRO_LABELS = ("silence", "unknown", "yes", "no")


def expected(shared_data: Path, name: str) -> dict[str, Any]:
    checks = json.loads((shared_data / "expected.json").read_text(encoding="utf-8"))["checks"]
    case: dict[str, Any] = next(case for case in checks if case["id"] == name)
    return case


def model_of(path: Path, spec: AudioInput, labels: tuple[str, ...]) -> Model:
    manifest = make_members(b"x", task="audio_classification", source=spec)["manifest.json"]
    return assemble(parse_manifest(manifest), labels, open_engine(path))


def heard(model: Model, path: Path) -> list[list[Prediction]]:
    """What is said of each window of a file, by way of source and feed."""
    said: list[str] = []
    feed = SoundFeed(model, said.append)
    answers = []
    with new_source(WavSource("wav", path), SystemClock()) as source:
        while (item := source.take(Wanted(sample_rate_hz=model.sample_rate_hz))) is not None:
            assert isinstance(item, Sound)
            for window in feed.push(item):
                prepared = model.prepare_sound(window.samples)
                answers.append(model.decode(model.invoke(prepared), prepared))
    return answers


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_the_word_yes_is_heard_as_measured(shared_data: Path, kind: str) -> None:
    case = expected(shared_data, f"kws:yes:{kind}")
    with model_of(shared_data / case["model"], KWS, tuple(case["classes"])) as model:
        (answer,) = heard(model, shared_data / "audio/yes_1000ms.wav")
    assert answer[0].label == "Yes"
    assert answer[0].score == pytest.approx(case["expected_topk"][0]["score"], abs=case["score_tolerance"])


@pytest.mark.parametrize("word", ["yes", "no"])
def test_the_micro_model_hears_words_as_measured(shared_data: Path, word: str) -> None:
    case = expected(shared_data, f"micro_speech:{word}")
    with model_of(shared_data / case["model"], MICRO, MICRO_LABELS) as model:
        path = shared_data / f"audio/{word}_1000ms.wav"
        (answer,) = heard(model, path)
        prepared = model.prepare_sound(read_wav(path)[0])
    assert answer[0].label == word
    assert answer[0].score == pytest.approx(case["expected_topk"][0]["score"], abs=case["score_tolerance"])
    # the reference takes 666 / 256 in place of the scale that the model says: a step of int8 apart at the most
    stored = np.loadtxt(shared_data / case["input"], delimiter=",")
    assert np.abs(prepared.inputs[0].reshape(49, 40) - stored).max() <= 1


def test_the_micro_model_hears_silence(shared_data: Path) -> None:
    with model_of(shared_data / "models/audio/micro_speech_quantized.tflite", MICRO, MICRO_LABELS) as model:
        (answer,) = heard(model, shared_data / "audio/silence_1000ms.wav")
    assert answer[0].label == "silence"


@pytest.mark.parametrize("rate_hz", [44_100, 48_000, 22_050])
def test_words_recorded_at_another_rate_in_stereo_are_heard_too(
    shared_data: Path, tmp_path: Path, rate_hz: int
) -> None:
    samples = converted(read_wav(shared_data / "audio/yes_1000ms.wav")[0], rate_hz)
    path = write_wav(tmp_path / "yes.wav", np.stack([samples, samples], axis=1), rate_hz)
    with (
        model_of(shared_data / "models/audio/kws_dscnn_int8.tflite", KWS, ()) as kws,
        model_of(shared_data / "models/audio/micro_speech_quantized.tflite", MICRO, MICRO_LABELS) as micro,
    ):
        assert [answer[0].index for answer in heard(kws, path)] == [9]
        assert [answer[0].label for answer in heard(micro, path)] == ["yes"]


def test_a_minute_of_speech_gives_a_window_every_stride(shared_data: Path) -> None:
    with model_of(shared_data / "models/audio/kws_dscnn_int8.tflite", KWS, ()) as model:
        assert len(heard(model, shared_data / "audio/silero_test_60s.wav")) == 60


def converted(samples: Samples, rate_hz: int) -> Samples:
    resampler = Resampler(16_000, rate_hz)
    return np.concatenate([resampler.push(samples), resampler.finish()])
