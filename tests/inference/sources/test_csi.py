"""The Pi's own camera, with a picamera2 of our own in place of the real one, which only a Pi has."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edge_agent.config.sources import CameraSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Wanted
from edge_agent.transform.picture import YuvPicture
from tests.inference.sources.pictures import names, open_source, picture, take_all
from tests.sim import picamera2
from tests.sim.clock import FakeClock
from tests.sim.picamera2 import Picamera2


@pytest.fixture(autouse=True)
def pi(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Picamera2]]:
    monkeypatch.setitem(sys.modules, "picamera2", picamera2)
    monkeypatch.setattr(Picamera2, "opened", [])
    monkeypatch.setattr(Picamera2, "silent_waits", 0)
    monkeypatch.setattr(Picamera2, "cameras", 2)
    yield Picamera2.opened
    assert all(camera.closed and camera.held == 0 for camera in Picamera2.opened)


def csi(**more: Any) -> CameraSource:
    return CameraSource("camera", **{"device": "csi", "width_px": 640, "height_px": 480, **more})


def test_planes_are_taken_without_the_padding_of_their_rows(pi: list[Picamera2]) -> None:
    with open_source(csi(width_px=650, height_px=481)) as source:
        frames = take_all(source, at_most=6)
    assert names(frames) == ["0", "1", "2", "3", "4", "5"]
    for number, frame in enumerate(frames):
        found = picture(frame)
        assert isinstance(found, YuvPicture)
        assert (found.size_px, found.u.shape, found.matrix, found.full_range) == (
            (650, 480),
            (240, 325),
            "bt601",
            False,
        )
        assert np.unique(found.y).tolist() == [17 + number]
        assert (np.unique(found.u).tolist(), np.unique(found.v).tolist()) == ([100], [150])
    assert pi[0].camera_config["main"]["stride"] == 704


def test_it_is_asked_for_what_is_configured(pi: list[Picamera2]) -> None:
    with open_source(csi(device="csi:1", width_px=1280, height_px=720, camera_fps=25.0)) as source:
        found = picture(source.take(Wanted()))
    assert isinstance(found, YuvPicture)
    assert found.matrix == "bt709"
    assert pi[0].camera_num == 1
    assert pi[0].camera_config["controls"] == {"FrameDurationLimits": (40_000, 40_000)}
    assert pi[0].camera_config["main"]["format"] == "YUV420"


def test_a_picture_is_stamped_with_the_time_of_the_sensor() -> None:
    clock = FakeClock()
    with open_source(csi(), clock) as source:
        frame = source.take(Wanted())
    assert isinstance(frame, Frame)
    assert 0.04 < clock.now_s() - frame.captured_s < 2


def test_what_is_not_used_is_given_back_at_once() -> None:
    with open_source(csi(every_n=3)) as source:
        assert names(take_all(source, at_most=4)) == ["0", "3", "6", "9"]


def test_a_wait_in_vain_is_told_and_the_same_request_is_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(csi()) as source:
        monkeypatch.setattr(Picamera2, "silent_waits", 2)
        assert [source.take(Wanted()) for _ in range(2)] == [Nothing(), Nothing()]
        assert isinstance(source.take(Wanted()), Frame)


def test_a_camera_that_stays_silent_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    source = open_source(csi(), clock)
    with source:
        monkeypatch.setattr(Picamera2, "silent_waits", 10_000)
        assert source.take(Wanted()) == Nothing()
        clock.advance(10)
        with pytest.raises(SourceError, match="sent nothing for 10 s"):
            source.take(Wanted())
    monkeypatch.setattr(Picamera2, "silent_waits", 0)
    with source:
        assert names(take_all(source, at_most=1)) == ["0"]


def test_a_camera_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(csi()) as source:
        monkeypatch.setattr(Picamera2, "broken", True)
        with pytest.raises(SourceError, match="timed out"):
            source.take(Wanted())
    monkeypatch.setattr(Picamera2, "broken", False)


def test_a_camera_that_is_not_there_is_told_with_a_hint() -> None:
    with pytest.raises(SourceError, match="csi:7") as caught, open_source(csi(device="csi:7")):
        pass
    assert caught.value.hint


def test_without_picamera2_the_hint_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceError, match="picamera2") as caught, open_source(csi()):
        pass
    assert "apt install python3-picamera2" in str(caught.value.hint)
