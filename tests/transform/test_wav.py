"""What is read of a WAV file, and what is said of one that is damaged."""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import FrameError
from edge_agent.transform.wav import WavReader, read_wav
from tests.sim.sound import counted, riff, wav_format, write_wav

VALUES = [-1.0, -0.5, 0.0, 0.25, 0.5]
EXTENSIBLE = wav_format(0xFFFE, bits=32)[1] + struct.pack("<HHI", 22, 32, 0)


def packed(code: str, scale: float, shift: float = 0.0) -> bytes:
    return b"".join(struct.pack(code, type(1.0 if code[-1] in "fd" else 1)(v * scale + shift)) for v in VALUES)


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (wav_format(1, bits=8), packed("B", 128, 128)),
        (wav_format(1, bits=16), packed("<h", 2**15)),
        (wav_format(1, bits=24), b"".join(struct.pack("<i", int(v * 2**31))[1:] for v in VALUES)),
        (wav_format(1, bits=32), packed("<i", 2**31)),
        (wav_format(3, bits=32), packed("<f", 1)),
        (wav_format(3, bits=64), packed("<d", 1)),
        ((b"fmt ", EXTENSIBLE + struct.pack("<H", 3) + b"\0" * 14), packed("<f", 1)),
        ((b"fmt ", EXTENSIBLE + struct.pack("<H", 1) + b"\0" * 14), packed("<i", 2**31)),
    ],
)
def test_every_encoding_gives_the_same_samples(tmp_path: Path, form: tuple[bytes, bytes], content: bytes) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(riff((b"LIST", b"odd"), form, (b"data", content), (b"id3 ", b"more")))
    samples, rate_hz = read_wav(path)
    assert samples.tolist() == VALUES
    assert samples.dtype == np.float32
    assert rate_hz == 16_000


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([counted(100), counted(100, 50)], axis=1)
    samples, rate_hz = read_wav(write_wav(tmp_path / "x.wav", stereo, 44_100))
    assert samples.tolist() == (stereo.astype(np.float64).mean(axis=1)).tolist()
    assert rate_hz == 44_100


def test_a_file_is_read_block_by_block(tmp_path: Path) -> None:
    with WavReader(write_wav(tmp_path / "x.wav", counted(1000))) as reader:
        assert reader.length == 1000
        blocks = [reader.read(300) for _ in range(5)]
    assert [len(block) for block in blocks] == [300, 300, 300, 100, 0]
    assert np.concatenate(blocks).tolist() == counted(1000).tolist()


def test_a_size_that_was_never_filled_in_means_till_the_end(tmp_path: Path) -> None:
    """As ffmpeg and arecord write into a pipe."""
    for size in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFFFDC):
        whole = write_wav(tmp_path / "x.wav", counted(100)).read_bytes()
        (tmp_path / "x.wav").write_bytes(whole[:40] + struct.pack("<I", size) + whole[44:])
        assert read_wav(tmp_path / "x.wav")[0].tolist() == counted(100).tolist()


def test_a_file_that_is_cut_off_gives_what_is_there_and_says_what_is_missing(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "x.wav", counted(100))
    path.write_bytes(path.read_bytes()[:-21])
    with WavReader(path) as reader:
        assert (reader.length, reader.missing) == (89, 11)
        assert reader.read(1000).tolist() == counted(89).tolist()
    with pytest.raises(FrameError, match="11 samples missing"):
        read_wav(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\xff\xfb\x90\x00" * 20, "a WAV file is expected"),
        (riff(), "no format"),
        (riff(wav_format()), "no sound"),
        (riff((b"data", b"\0\0"), wav_format()), "before its format"),
        (riff(wav_format(), (b"data", b"")), "holds no sound"),
        (riff(wav_format(), (b"data", b"\0")), "holds no sound"),
        (riff((b"fmt ", b"\1\0"), (b"data", b"\0\0")), "format has 2 bytes"),
        (riff(wav_format(7, bits=8), (b"data", b"\0\0")), "found mu-law of 8 bits"),
        (riff(wav_format(1, bits=12, step=2), (b"data", b"\0\0")), "found PCM of 12 bits"),
        (riff(wav_format(99), (b"data", b"\0\0")), "found encoding 99 of 16 bits"),
        (riff(wav_format(channels=0), (b"data", b"\0\0")), "0 channels"),
        (riff(wav_format(channels=65), (b"data", b"\0\0")), "65 channels"),
        (riff(wav_format(rate_hz=0), (b"data", b"\0\0")), "0 Hz"),
        (riff(wav_format(rate_hz=2**31), (b"data", b"\0\0")), "2147483648 Hz"),
        (riff(wav_format(step=3), (b"data", b"\0\0\0")), "steps of 3 bytes"),
        (riff(wav_format(3, bits=32), (b"data", struct.pack("<3f", 0, 1, float("nan")))), "sample 2 is not a finite"),
        (riff(wav_format(3, bits=64), (b"data", struct.pack("<d", 1e300))), "sample 0 is not a finite"),
        (riff(*[(b"junk", b"")] * 2000, wav_format(), (b"data", b"\0\0")), "no format"),
    ],
)
def test_a_damaged_file_is_named_and_described(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=said) as caught:
        read_wav(path)
    assert str(caught.value).startswith("x.wav")


def test_a_missing_file_and_a_folder_are_frame_errors(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match=r"none\.wav: No such file"):
        read_wav(tmp_path / "none.wav")
    with pytest.raises(FrameError, match="is no file"):
        read_wav(tmp_path)


def test_a_claimed_size_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(riff(wav_format(bits=32, channels=64))[:] + b"data" + struct.pack("<I", 0x7FFE0000) + b"\0" * 512)
    tracemalloc.start()
    with WavReader(path) as reader:
        assert len(reader.read(10**9)) == 2
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000


@given(st.data())
def test_no_bytes_whatever_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sane = riff(wav_format(), (b"data", counted(20).tobytes()))
    path = tmp_path_factory.mktemp("fuzz") / "x.wav"
    content = bytearray(sane)
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(0, len(content)))]) + data.draw(st.binary(max_size=20)))
    try:
        samples, rate_hz = read_wav(path)
    except FrameError:
        return
    assert rate_hz > 0
    assert np.isfinite(samples).all()
