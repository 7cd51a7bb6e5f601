"""Between source and model: sound of any rate becomes windows of the model's."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import FrameError, ModelError, Reason, SourceError
from edge_agent.inference.frame import Sound
from edge_agent.inference.model import Model, assemble
from edge_agent.inference.sound import SoundFeed, SoundWindow
from edge_agent.release.inputs import AudioInput, ImageInput
from edge_agent.release.manifest import parse_manifest
from edge_agent.transform.resample import Resampler
from edge_agent.transform.tensor import TensorSpec
from tests.sim.artifact import make_members
from tests.sim.engine import FakeEngine
from tests.sim.sound import counted, tone

BEGAN_S = 1_750_000_000.0
SCORES = TensorSpec("scores", (1, 2), np.dtype(np.float32))


def model(spec: Any = None, *, length: int = 1_000, **more: Any) -> Model:
    source = spec or AudioInput(window=1_000, stride=500, **more)
    inputs = (TensorSpec("sound", (1, length), np.dtype(np.float32)),)
    engine = FakeEngine(inputs, (SCORES,), lambda arrays: [np.array([[arrays[0].max(), arrays[0].min()]])])
    manifest = make_members(b"x", task="audio_classification", source=source)["manifest.json"]
    return assemble(parse_manifest(manifest), (), engine)


def sound(samples: NDArray[np.float32], first: int = 0, rate_hz: int = 16_000, **more: bool) -> Sound:
    return Sound(f"x.wav:{first}", BEGAN_S + first / rate_hz, samples, rate_hz, **more)


def silent(_: str) -> None:
    raise AssertionError("there is nothing to say")


def test_sound_becomes_predictions() -> None:
    with model() as subject:
        assert subject.sample_rate_hz == 16_000
        windows = SoundFeed(subject, silent).push(sound(tone(440, 1_000)))
        prepared = subject.prepare_sound(windows[0].samples)
        assert prepared.inputs[0].shape == (1, 1_000)
        best = subject.decode(subject.invoke(prepared), prepared)[0]
        assert best.score == pytest.approx(0.5, abs=0.01)


def test_a_model_of_pictures_takes_no_sound() -> None:
    engine = FakeEngine((TensorSpec("i", (1, 4, 4, 3), np.dtype(np.uint8)),), (SCORES,), lambda _: [])
    subject = assemble(parse_manifest(make_members(b"x", source=ImageInput())["manifest.json"]), (), engine)
    assert subject.sample_rate_hz is None
    with pytest.raises(FrameError, match="takes no sound"):
        SoundFeed(subject, silent)
    with pytest.raises(FrameError, match="takes no sound"):
        subject.prepare_sound(counted(4))


def test_a_model_of_sound_takes_no_pictures_and_says_what_it_takes() -> None:
    with pytest.raises(FrameError, match="takes no windows of rows") as caught:
        model().prepare_rows([[1.0]])
    assert caught.value.hint == "give it sound"


def test_features_that_do_not_fit_the_tensor_are_incompatible() -> None:
    with pytest.raises(ModelError, match="1000 samples") as caught:
        model(length=999)
    assert caught.value.reason is Reason.INCOMPATIBLE


def test_windows_span_blocks_and_know_where_they_begin_and_when_they_end() -> None:
    feed = SoundFeed(model(), silent)
    found: list[SoundWindow] = []
    for first in range(0, 2_400, 300):
        found += feed.push(sound(counted(300, first), first))
    assert [window.samples.tolist() for window in found] == [counted(1_000, n).tolist() for n in (0, 500, 1_000)]
    assert [window.name for window in found] == ["x.wav:0", "x.wav:300", "x.wav:900"]
    assert [window.captured_s for window in found] == pytest.approx([BEGAN_S + n / 16_000 for n in (1000, 1500, 2000)])


def test_one_long_block_gives_all_its_windows() -> None:
    found = SoundFeed(model(), silent).push(sound(counted(2_100)))
    assert [window.samples[0] * 32_768 for window in found] == [0, 500, 1_000]


def test_no_window_spans_a_gap() -> None:
    feed = SoundFeed(model(), silent)
    assert feed.push(sound(counted(999))) == []
    assert feed.push(sound(counted(999, 5_000), 5_000, after_gap=True)) == []
    (window,) = feed.push(sound(counted(1, 5_999), 5_999))
    assert window.samples.tolist() == counted(1_000, 5_000).tolist()
    assert window.name == "x.wav:5000"


def test_another_rate_is_resampled_and_said_once() -> None:
    said: list[str] = []
    feed = SoundFeed(model(AudioInput(window=16_000, stride=16_000), length=16_000), said.append)
    found: list[SoundWindow] = []
    for number in range(2):  # two files of exactly one second
        for first in range(0, 44_100, 4_410):
            block = tone(440, 44_100)[first : first + 4_410]
            found += feed.push(sound(block, first, 44_100, after_gap=first == 0, ends=first == 44_100 - 4_410))
        assert len(found) == number + 1
    assert said == ["sound of 44100 Hz is resampled to the 16000 Hz that the model takes"]
    resampler = Resampler(44_100, 16_000)
    expected = np.concatenate([resampler.push(tone(440, 44_100)), resampler.finish()])
    assert found[1].samples.tolist() == expected.tolist()
    assert found[0].samples.tolist() == found[1].samples.tolist()
    assert found[0].captured_s == pytest.approx(BEGAN_S + 1.0)
    assert found[0].name == "x.wav:0"


def test_after_a_gap_nothing_of_the_sound_before_is_left() -> None:
    said: list[str] = []
    block = tone(440, 48_000)[:12_000]
    (first, *_) = SoundFeed(model(), said.append).push(sound(block, rate_hz=48_000))
    feed = SoundFeed(model(), said.append)
    feed.push(sound(np.ones(1_234, np.float32), rate_hz=48_000))
    (after, *_) = feed.push(sound(block, rate_hz=48_000, after_gap=True))
    assert after.samples.tolist() == first.samples.tolist()


def test_files_of_different_rates_follow_each_other() -> None:
    said: list[str] = []
    feed = SoundFeed(model(), said.append)
    assert len(feed.push(sound(tone(440, 8_000, seconds=0.0625), rate_hz=8_000, after_gap=True, ends=True))) == 1
    (plain,) = feed.push(sound(counted(1_000), after_gap=True, ends=True))
    assert plain.samples.tolist() == counted(1_000).tolist()
    assert len(feed.push(sound(tone(440, 48_000, seconds=0.0625), rate_hz=48_000, after_gap=True, ends=True))) == 1
    assert [text[:16] for text in said] == ["sound of 8000 Hz", "sound of 48000 H"]


def test_a_file_that_is_shorter_than_a_window_is_filled_up_with_silence() -> None:
    said: list[str] = []
    feed = SoundFeed(model(), said.append)
    (window,) = feed.push(sound(counted(300, 1), ends=True))
    feed.push(sound(counted(300, 1), ends=True))
    assert said == ["sound shorter than the window of 0.0625 s is followed by silence"]
    assert window.samples.tolist() == [*counted(300, 1).tolist(), *[0.0] * 700]
    assert window.captured_s == pytest.approx(BEGAN_S + 300 / 16_000)  # silence was never captured


def test_a_rate_that_cannot_be_converted_is_a_source_error_and_the_next_file_is_fine() -> None:
    feed = SoundFeed(model(), silent)
    with pytest.raises(SourceError, match="sample rate must be"):
        feed.push(sound(counted(10), rate_hz=5, after_gap=True))
    assert len(feed.push(sound(counted(1_000), after_gap=True))) == 1
