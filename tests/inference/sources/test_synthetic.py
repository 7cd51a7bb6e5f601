"""The synthetic source: the same every time, and every kind of content."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from edge_agent.config.sources import MotionGate, SyntheticSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Sample, Sound, Wanted
from tests.inference.sources.pictures import names, open_source, picture, seen, take_all


def synthetic(**more: Any) -> SyntheticSource:
    return SyntheticSource("synthetic", **more)


@pytest.mark.parametrize("kind", ["rgb", "yuv", "jpeg"])
def test_a_square_moves_from_picture_to_picture(kind: str) -> None:
    with open_source(synthetic(picture=kind, count=32, width_px=321, height_px=241)) as source:
        frames = take_all(source)
    assert names(frames) == [str(number) for number in range(32)]
    reds = [seen(picture(frame), (32, 24))[12, :, 0] for frame in frames]
    lefts = [int(np.argmax(red > 180)) for red in reds]
    assert all(0 <= after - before <= 2 for before, after in pairwise(lefts))
    assert (lefts[0], lefts[-1] > 28) == (0, True)


def test_all_three_kinds_show_the_same() -> None:
    shown = []
    for kind in ("rgb", "yuv", "jpeg"):
        with open_source(synthetic(picture=kind)) as source:
            shown.append(seen(picture(take_all(source, at_most=5)[4]), (32, 24)).astype(int))
    assert np.abs(shown[0] - shown[1]).mean() < 3
    assert np.abs(shown[0] - shown[2]).mean() < 3


@pytest.mark.parametrize("content", ["pictures", "rows", "audio"])
def test_it_is_the_same_each_time_it_is_opened_and_ends(content: str) -> None:
    columns = ("x", "y") if content == "rows" else ()
    source = open_source(synthetic(content=content, count=3, columns=columns))
    passes = []
    for _ in range(2):
        with source:
            passes.append(take_all(source))
    assert [len(items) for items in passes] == [3, 3]
    for first, second in zip(*passes, strict=True):
        if isinstance(first, Frame):
            assert np.array_equal(seen(first.picture, (9, 9)), seen(picture(second), (9, 9)))
        elif isinstance(first, Sound):
            assert isinstance(second, Sound)
            assert np.array_equal(first.samples, second.samples)
        else:
            assert first == second


def test_rows_have_the_columns_that_are_wanted() -> None:
    with open_source(synthetic(content="rows")) as source:
        row = source.take(Wanted(("a", "b", "c")))
    assert isinstance(row, Sample)
    assert row.channels == ("a", "b", "c")
    assert all(-1 <= value <= 1 for value in row.values)


def test_sound_is_one_unbroken_tone() -> None:
    with open_source(synthetic(content="audio", sample_rate_hz=8000, count=3)) as source:
        pieces = [item for item in take_all(source) if isinstance(item, Sound)]
    assert [piece.name for piece in pieces] == ["0", "800", "1600"]
    joined = np.concatenate([piece.samples for piece in pieces])
    assert int(np.argmax(np.abs(np.fft.rfft(joined)))) * 8000 / len(joined) == pytest.approx(440, abs=4)
    assert joined.dtype == np.float32


def test_it_fails_after_as_many_as_it_is_told_each_time() -> None:
    source = open_source(synthetic(fail_after=2))
    for _ in range(2):
        with source, pytest.raises(SourceError, match="fail_after"):
            take_all(source)


def test_every_third_and_a_gate_work_on_it() -> None:
    with open_source(synthetic(count=12, every_n=3)) as source:
        assert names(take_all(source)) == ["0", "3", "6", "9"]
    with open_source(synthetic(count=32, motion=MotionGate(threshold=0.05))) as source:
        assert 3 < len(take_all(source)) < 20
