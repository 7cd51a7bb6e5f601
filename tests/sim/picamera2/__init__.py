"""Enough of picamera2 for `csi`, on sys.path in its place: it keeps the promises that its manual and source make.

One thing at a time may be asked for; a request that is not released is never filled again; buffers are flat, with rows
padded to 64 bytes; sizes have to be even, and are read back from `camera_config`; a job that is not done in time stays.
"""

import time
from typing import Any, ClassVar

import numpy as np

_BUFFERS_AHEAD = 4


class _Encoding:
    def __init__(self, name: str) -> None:
        self._name = name

    def __str__(self) -> str:
        return self._name


class _ColorSpace:
    def __init__(self, encoding: str, reach: str) -> None:
        self.ycbcrEncoding = _Encoding(f"YcbcrEncoding.{encoding}")
        self.range = _Encoding(f"Range.{reach}")


class _Request:
    def __init__(self, camera: "Picamera2", number: int) -> None:
        self._camera = camera
        self._number = number
        self._held = True

    def make_buffer(self, name: str) -> Any:
        assert self._held, "used after release"
        stream = self._camera.camera_config[name]
        (_, height), stride = stream["size"], stream["stride"]
        y = np.full((height, stride), 16 + self._number, np.uint8)
        u = np.full((height // 2, stride // 2), 100, np.uint8)
        v = np.full((height // 2, stride // 2), 150, np.uint8)
        y[:, stream["size"][0] :] = 255  # padding, which nobody may look at
        return np.concatenate([plane.reshape(-1) for plane in (y, u, v)])

    def get_metadata(self) -> dict[str, Any]:
        assert self._held, "used after release"
        return {"SensorTimestamp": time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 50_000_000}

    def release(self) -> None:
        assert self._held, "released twice"
        self._held = False
        self._camera.held -= 1


class _Job:
    def __init__(self) -> None:
        self.done = False


class Picamera2:
    cameras: ClassVar[int] = 1  # a test says how many there are
    silent_waits: ClassVar[int] = 0  # how many waits are in vain from now on
    broken: ClassVar[bool] = False
    opened: ClassVar[list["Picamera2"]] = []

    def __init__(self, camera_num: int = 0) -> None:
        list(range(Picamera2.cameras))[camera_num]  # the real one looks into its list of cameras
        self.camera_num = camera_num
        self.camera_config: dict[str, Any] = {}
        self.started = self.closed = False
        self.held = 0
        self._number = 0
        self._job: _Job | None = None
        Picamera2.opened.append(self)

    def create_video_configuration(
        self, main: dict[str, Any], *, buffer_count: int = 6, controls: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return {"main": dict(main), "buffer_count": buffer_count, "controls": controls or {}}

    def configure(self, config: dict[str, Any]) -> None:
        width, height = config["main"]["size"]
        if width % 2 or height % 2:
            raise RuntimeError("width and height should be even")
        main = config["main"] | {"stride": (width + 63) // 64 * 64}
        hd = width >= 1280 and height >= 720
        space = _ColorSpace("Rec709" if hd else "Rec601", "Limited")
        self.camera_config = config | {"main": main, "colour_space": space}

    def start(self) -> None:
        self.started = True

    def capture_request(self, *, wait: bool) -> _Job:
        assert not wait
        assert self.started
        assert self._job is None, "the job before is still waiting"
        if Picamera2.broken:
            raise RuntimeError("Camera frontend has timed out!")
        self._job = _Job()
        return self._job

    def wait(self, job: _Job, timeout: float) -> _Request:
        assert job is self._job
        assert timeout > 0
        if Picamera2.silent_waits:
            Picamera2.silent_waits -= 1
            raise TimeoutError
        assert self.held < _BUFFERS_AHEAD, "no buffer is left"
        self._job = None
        self.held += 1
        self._number += 1
        return _Request(self, self._number)

    def close(self) -> None:
        self.closed = True
        self.started = False
