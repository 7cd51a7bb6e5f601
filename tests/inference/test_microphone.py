"""The microphone: what is heard, and what becomes of a device that goes, hangs or loses sound. Real processes."""

import os
import shutil
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.sources import MicrophoneSource
from edge_agent.errors import SourceError
from edge_agent.inference.capture import Captured, capture
from edge_agent.inference.frame import Sound, Unusable, Wanted
from edge_agent.inference.sources.microphone import Microphone
from edge_agent.inference.sources.source import new_source
from tests.sim.arecord import FakeArecord
from tests.sim.clock import FakeClock
from tests.sim.sound import counted

WANTED = Wanted(sample_rate_hz=16_000)
BLOCK = 800


@pytest.fixture
def arecord(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeArecord:
    fake = FakeArecord(tmp_path)
    monkeypatch.setenv("PATH", fake.path)
    return fake


def microphone(clock: Any = None, *, silent_s: float = 30.0, **config: Any) -> Microphone:
    return Microphone(MicrophoneSource("microphone", **config), clock or FakeClock(), silent_s=silent_s)


def take_sound(source: Microphone, wanted: Wanted = WANTED) -> Sound:
    item = source.take(wanted)
    assert isinstance(item, Sound), item
    return item


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_is_heard_comes_in_blocks_of_50_ms(arecord: FakeArecord) -> None:
    arecord.does("record(2000)\nhang()")
    clock = FakeClock()
    with microphone(clock) as source:
        blocks = [take_sound(source) for _ in range(2)]
    assert np.concatenate([block.samples for block in blocks]).tolist() == counted(2 * BLOCK).tolist()
    assert [block.name for block in blocks] == ["microphone:0", "microphone:800"]
    assert [block.after_gap for block in blocks] == [True, False]
    assert {block.sample_rate_hz for block in blocks} == {16_000}
    assert blocks[0].captured_s == pytest.approx(clock.now_s() - 0.05)
    assert blocks[0].samples.dtype == np.float32


def test_arecord_is_asked_for_what_the_configuration_and_the_model_want(arecord: FakeArecord) -> None:
    arecord.does("record(100_000, channels=2)")
    with microphone(device="plughw:1,0", channels=2) as source:
        assert take_sound(source, Wanted(sample_rate_hz=8_000)).sample_rate_hz == 8_000
    with microphone(sample_rate_hz=48_000) as source:
        assert take_sound(source).sample_rate_hz == 48_000
    asked = [arguments.partition(" --buffer")[0] for _, arguments in arecord.runs]
    assert asked == ["-D plughw:1,0 -t raw -f S16_LE -r 8000 -c 2", "-D default -t raw -f S16_LE -r 48000 -c 1"]


def test_channels_are_averaged(arecord: FakeArecord) -> None:
    arecord.does("for n in range(1000):\n    os.write(1, struct.pack('<2h', n, 0))\nhang()")
    with microphone(channels=2) as source:
        assert take_sound(source).samples.tolist() == (counted(BLOCK) / 2).tolist()


def test_another_model_with_another_rate_starts_it_anew(arecord: FakeArecord) -> None:
    arecord.does("record(100_000)")
    with microphone() as source:
        take_sound(source)
        found = take_sound(source, Wanted(sample_rate_hz=8_000))
    assert (found.sample_rate_hz, found.after_gap, len(found.samples)) == (8_000, True, 400)
    assert all(is_gone(pid) for pid, _ in arecord.runs)


def test_a_device_that_has_another_rate_says_which_it_gives(arecord: FakeArecord) -> None:
    arecord.does("say('Warning: rate is not accurate (requested = 16000Hz, got = 44100Hz)')\nrecord(100_000)")
    with microphone() as source:
        found = take_sound(source)
    assert found.sample_rate_hz == 44_100
    assert len(found.samples) == 2_205


def test_sound_that_was_lost_is_told_and_no_window_spans_the_hole(arecord: FakeArecord) -> None:
    arecord.does(
        "record_at_once(800)\nwait_for('overrun')\nsay('overrun!!! (at least 12.345 ms long)')\nrecord(5000, 5000)"
    )
    with microphone() as source:
        assert take_sound(source).after_gap
        arecord.let("overrun")
        lost = source.take(WANTED)
        assert isinstance(lost, Unusable)
        assert lost.detail == "microphone default: at least 12.345 ms of sound were lost (overrun)"
        found = [take_sound(source) for _ in range(2)]
    assert [sound.after_gap for sound in found] == [True, False]


def test_sound_that_waited_too_long_is_thrown_away(arecord: FakeArecord) -> None:
    arecord.does("record_at_once(1800)\nwait_for('more')\nrecord(100_000, 5_000)")
    clock = FakeClock()
    with microphone(clock) as source:
        take_sound(source)
        clock.advance(0.9)
        assert take_sound(source).samples.tolist() == counted(BLOCK, BLOCK).tolist()
        clock.advance(1.1)  # 200 samples wait
        arecord.let("more")
        found = take_sound(source)
    assert found.after_gap
    numbers = np.rint(found.samples * 32_768)
    assert numbers[0] >= 5_000
    assert (np.diff(numbers) % 30_000 == 1).all()


def test_of_a_sample_that_came_in_part_the_other_part_is_waited_for(arecord: FakeArecord) -> None:
    arecord.does(
        "sound = b''.join(struct.pack('<2h', n, n) for n in range(2000))\n"
        "os.write(1, sound[:3206])\nwait_for('more')\nos.write(1, sound[3206:])\nhang()"
    )
    with microphone(channels=2) as source:
        take_sound(source)  # 3200 bytes
        assert source._recording is not None
        source._recording.discard()
        arecord.let("more")
        assert take_sound(source).samples.tolist() == counted(BLOCK, BLOCK + 1).tolist()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("arecord: main:831: audio open error: No such file or directory", "`arecord -L` lists the devices"),
        ("arecord: main:831: audio open error: Device or resource busy", "another program records from it"),
        ("arecord: main:831: audio open error: Permission denied", "group audio"),
    ],
)
def test_a_device_that_cannot_be_opened_is_a_source_error(arecord: FakeArecord, said: str, hint: str) -> None:
    arecord.does(f"say({said!r})\nsys.exit(1)")
    with microphone(device="hw:7") as source, pytest.raises(SourceError) as caught:
        source.take(WANTED)
    assert str(caught.value) == f"microphone hw:7: {said.removeprefix('arecord: ')}"
    assert hint in (caught.value.hint or "")


def test_a_device_that_hangs_is_a_source_error(arecord: FakeArecord) -> None:
    arecord.does("record_at_once(100)\nhang()")
    with microphone(SystemClock(), silent_s=0.2) as source, pytest.raises(SourceError, match=r"nothing for 0\.2 s"):
        source.take(WANTED)
    assert all(is_gone(pid) for pid, _ in arecord.runs)


def test_one_that_is_killed_says_how_it_ended(arecord: FakeArecord) -> None:
    arecord.does("record_at_once(100)\nos.kill(os.getpid(), signal.SIGKILL)")
    with microphone() as source, pytest.raises(SourceError, match="ended with signal SIGKILL"):
        source.take(WANTED)


def test_leaving_it_ends_the_process(arecord: FakeArecord) -> None:
    arecord.does("record(100_000_000)")
    with microphone() as source:
        take_sound(source)
        ((pid, _),) = arecord.runs
        assert not is_gone(pid)
    assert is_gone(pid)


def test_a_process_that_does_not_end_when_asked_is_killed(
    arecord: FakeArecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_agent.inference.sources.microphone._END_S", 0.1)
    arecord.does("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nrecord(1000)\nwhile True: hang()")
    with microphone() as source:
        take_sound(source)
    assert all(is_gone(pid) for pid, _ in arecord.runs)


def test_without_arecord_the_hint_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with microphone() as source, pytest.raises(SourceError, match="not installed") as caught:
        source.take(WANTED)
    assert caught.value.hint == "sudo apt-get install alsa-utils"


class Heard:
    """A `Receiver` that stops after so many blocks."""

    def __init__(self, blocks: int) -> None:
        self._blocks = blocks
        self.sounds: list[Sound] = []
        self.troubles: list[str] = []
        self.stopped = Event()

    def asks_for(self) -> Wanted:
        return WANTED

    def received(self, captured: Captured) -> None:
        assert isinstance(captured.taken, Sound)
        self.sounds.append(captured.taken)
        if len(self.sounds) == self._blocks:
            self.stopped.set()

    def unusable(self, unusable: Unusable) -> None:
        raise AssertionError(unusable)

    def trouble(self, error: SourceError) -> None:
        self.troubles.append(str(error))

    def ended(self) -> None:
        raise AssertionError("a microphone has no end")


def test_a_microphone_that_is_unplugged_is_looked_for_until_it_is_back(arecord: FakeArecord) -> None:
    arecord.does(
        "if run == 0:\n    record_at_once(800)\n    say('arecord: pcm_read:2221: read error: No such device')\n"
        "elif run < 3:\n    say('arecord: main:831: audio open error: No such file or directory')\n"
        "else:\n    record(1600)\n    hang()\n"
        "sys.exit(1)"
    )
    clock, heard, wanted = FakeClock(), Heard(3), Event()
    wanted.set()
    config = MicrophoneSource("microphone")
    capture(lambda: new_source(config, clock), config, heard, clock=clock, wanted=wanted, stopped=heard.stopped)
    assert heard.troubles == [
        "microphone default: pcm_read:2221: read error: No such device",
        "microphone default: main:831: audio open error: No such file or directory",
        "microphone default: main:831: audio open error: No such file or directory",
    ]
    assert [sound.after_gap for sound in heard.sounds] == [True, True, False]
    assert clock.monotonic_s() == pytest.approx(1 + 2 + 4)  # the back-off


# --- the real arecord -----------------------------------------------------------------------------------------


@pytest.fixture
def alsa(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A device of ALSA's file plugin that plays samples from a file: no hardware is needed."""
    if shutil.which("arecord") is None:
        pytest.skip("needs arecord (apt-get install alsa-utils)")
    np.arange(16_000, dtype="<i2").tofile(tmp_path / "sound.raw")
    (tmp_path / "asound.conf").write_text(
        "pcm.nothing { type null }\n"
        f'pcm.played {{ type file slave.pcm "nothing" file "/dev/null" infile "{tmp_path}/sound.raw" format "raw" }}\n'
    )
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "asound.conf"))
    return "played"


def test_the_real_arecord_gives_what_the_device_gives(alsa: str) -> None:
    with microphone(device=alsa) as source:
        found = [take_sound(source) for _ in range(20)]
    assert np.concatenate([sound.samples for sound in found]).tolist() == counted(16_000).tolist()
    assert [sound.after_gap for sound in found] == [True, *[False] * 19]


def test_the_real_arecord_has_no_such_device(alsa: str) -> None:
    with microphone(device="unplugged") as source, pytest.raises(SourceError) as caught:
        source.take(WANTED)
    assert "microphone unplugged: " in str(caught.value)
    assert "No such file or directory" in str(caught.value)
    assert "arecord -L" in (caught.value.hint or "")
