"""WAV files as a source: what it gives, in which order and when, and what it says of bad files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config.sources import WavSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Sound, Unusable, Wanted
from edge_agent.inference.sources.source import Source, new_source
from edge_agent.inference.sources.wav import WavFiles
from tests.sim.clock import FakeClock
from tests.sim.sound import counted, write_wav

WANTED = Wanted(sample_rate_hz=16_000)


def open_wav(path: Path, clock: FakeClock | None = None, **more: Any) -> Source:
    return new_source(WavSource("wav", path, **more), clock or FakeClock())


def take_all(source: Source, at_most: int = 50) -> list[Sound | Unusable]:
    items: list[Any] = []
    while len(items) < at_most and (item := source.take(WANTED)) is not None:
        items.append(item)
    return items


def sounds(items: list[Sound | Unusable]) -> list[Sound]:
    assert all(isinstance(item, Sound) for item in items), items
    return [item for item in items if isinstance(item, Sound)]


def test_a_file_comes_in_blocks_of_a_tenth_of_a_second(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", counted(4_000))
    with open_wav(path) as source:
        found = sounds(take_all(source))
    assert [sound.name for sound in found] == ["x.wav:0", "x.wav:1600", "x.wav:3200"]
    assert np.concatenate([sound.samples for sound in found]).tolist() == counted(4_000).tolist()
    assert [sound.after_gap for sound in found] == [True, False, False]
    assert [sound.ends for sound in found] == [False, False, True]
    assert {sound.sample_rate_hz for sound in found} == {16_000}


def test_a_folder_gives_its_files_in_the_order_of_their_names_each_after_a_gap(tmp_path: Path) -> None:
    for name, rate_hz in (("b.wav", 8_000), ("a.wav", 44_100), ("c", 16_000)):
        write_wav(tmp_path / name, counted(1_600), rate_hz)
    (tmp_path / ".hidden.wav").write_bytes(b"x")
    (tmp_path / "more").mkdir()
    with open_wav(tmp_path) as source:
        found = sounds(take_all(source))
    assert [(sound.name, sound.sample_rate_hz) for sound in found if sound.after_gap] == [
        ("a.wav:0", 44_100), ("b.wav:0", 8_000), ("c:0", 16_000),
    ]  # fmt: skip
    assert sum(sound.ends for sound in found) == 3


def test_stereo_is_averaged(tmp_path: Path) -> None:
    stereo = np.stack([counted(100), np.zeros(100, np.float32)], axis=1)
    with open_wav(write_wav(tmp_path / "x.wav", stereo)) as source:
        (found,) = sounds(take_all(source))
    assert found.samples.tolist() == (counted(100) / 2).tolist()


def test_files_that_are_none_cost_only_themselves(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    write_wav(tmp_path / "b.wav", counted(10))
    (tmp_path / "c.txt").write_text("notes")
    write_wav(tmp_path / "d.wav", counted(10))
    (tmp_path / "d.wav").write_bytes((tmp_path / "d.wav").read_bytes()[:-4])
    with open_wav(tmp_path) as source:
        items = take_all(source)
    assert [type(item) for item in items] == [Unusable, Sound, Unusable, Sound, Unusable]
    assert [item.detail for item in items if isinstance(item, Unusable)] == [
        "a.wav: a WAV file is expected, found an empty file",
        "c.txt: a WAV file is expected, found one that begins with b'notes'",
        "d.wav is cut off: 2 samples missing at its end",
    ]
    cut = items[3]
    assert isinstance(cut, Sound)
    assert cut.samples.tolist() == counted(8).tolist()
    assert cut.ends


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\x89PNG" * 20])
def test_a_single_file_that_is_none_is_a_source_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with open_wav(tmp_path / "x.wav") as source, pytest.raises(SourceError, match=r"x\.wav: a WAV file is expected"):
        source.take(WANTED)


def test_a_missing_file_and_an_empty_folder_say_so(tmp_path: Path) -> None:
    with open_wav(tmp_path / "none.wav") as source, pytest.raises(SourceError, match="No such file") as caught:
        source.take(WANTED)
    assert caught.value.hint == "check `path`"
    with pytest.raises(SourceError, match="is empty"), open_wav(tmp_path):
        pass


def test_it_repeats_after_a_gap(tmp_path: Path) -> None:
    with open_wav(write_wav(tmp_path / "x.wav", counted(2_000)), repeat=True) as source:
        found = sounds(take_all(source, at_most=6))
    assert [sound.name for sound in found] == ["x.wav:0", "x.wav:1600"] * 3
    assert [sound.after_gap for sound in found] == [True, False] * 3


def test_a_repeating_folder_without_sound_is_a_source_error_not_a_busy_loop(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("notes")
    with open_wav(tmp_path, repeat=True) as source:
        assert isinstance(source.take(WANTED), Unusable)
        with pytest.raises(SourceError, match=r"none of its files \(1\)"):
            source.take(WANTED)


def test_in_real_time_it_takes_as_long_as_it_was_recorded(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_wav(write_wav(tmp_path / "x.wav", counted(8_000)), clock, realtime=True) as source:
        began_s = clock.now_s()
        for number in range(5):
            item = source.take(WANTED)
            assert isinstance(item, Sound)
            assert item.captured_s == pytest.approx(began_s + number * 0.1)
            assert clock.monotonic_s() == pytest.approx((number + 1) * 0.1)
            clock.advance(0.03)  # the work on it does not add to it


def test_what_is_late_is_not_hurried_after(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_wav(write_wav(tmp_path / "x.wav", counted(8_000)), clock, realtime=True) as source:
        source.take(WANTED)
        clock.advance(10)
        source.take(WANTED)
        assert clock.monotonic_s() == pytest.approx(10.1)
        source.take(WANTED)
        assert clock.monotonic_s() == pytest.approx(10.2)


def test_another_rate_is_refused_where_resampling_is_not_wanted(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", counted(10), 44_100)
    write_wav(tmp_path / "b.wav", counted(10), 16_000)
    with open_wav(tmp_path, resample=False) as source:
        items = take_all(source)
    assert isinstance(items[0], Unusable)
    assert items[0].detail == "a.wav has 44100 Hz; the model takes 16000 Hz"
    assert isinstance(items[1], Sound)
    with (
        open_wav(tmp_path / "a.wav", resample=False) as source,
        pytest.raises(SourceError, match="44100 Hz; the model takes 16000 Hz") as caught,
    ):
        source.take(WANTED)
    assert caught.value.hint == "set resample = true, or convert the file"
    with open_wav(tmp_path / "a.wav", resample=False) as source:
        assert isinstance(source.take(Wanted()), Sound)  # no model says otherwise yet


def test_a_file_that_shrinks_while_it_is_read_ends_with_an_error(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", counted(100_000))
    with open_wav(path) as source:
        source.take(WANTED)
        with path.open("r+b") as file:
            file.truncate(44 + 3_200)
        with pytest.raises(SourceError, match="has become shorter"):
            take_all(source, at_most=100)


def test_leaving_it_closes_the_file(tmp_path: Path) -> None:
    source = WavFiles(WavSource("wav", write_wav(tmp_path / "x.wav", counted(4_000))), FakeClock())
    with source:
        source.take(WANTED)
        assert source._reader is not None
        file = source._reader._file
        assert file is not None
    assert file.closed
