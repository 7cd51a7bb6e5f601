"""The camera at the Pi's own connector, by picamera2. The only place that imports it, and only when it is opened.

It hands out the YUV planes that the image processor of the Pi makes anyway, so nothing is converted twice.
Source of what is called here: the Picamera2 manual, https://datasheets.raspberrypi.com/camera/picamera2-manual.pdf, §4
(configurations), §6.2 (requests) and appendix A (YUV420), and picamera2/request.py and job.py of its repository.
"""

import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self

from edge_agent.clock import Clock
from edge_agent.config.sources import CameraSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Nothing, Wanted
from edge_agent.inference.sources.camera import raw_picture
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.inference.sources.v4l2 import PixelFormat

_WAIT_S = 0.5  # for one picture, before something else may be asked of us
_SILENT_S = 10.0  # without a picture, before it is opened anew
_OLDEST_S = 5.0
_BUFFERS = 4
# What its __init__, configure and start raise: IndexError where there is no camera, else RuntimeError, mostly.
_ERRORS = (RuntimeError, IndexError, OSError, ValueError, TypeError, KeyError)


class PiCamera:
    """Pictures are named by their number since it was opened, and stamped with the sensor's time."""

    def __init__(self, config: CameraSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._camera: Any = None  # picamera2 has no types
        self._job: Any = None
        self._pixels = PixelFormat("YU12", 0, 0, 0)
        self._thinning = Thinning(clock)
        self._number = -1
        self._last_s = 0.0

    def __enter__(self) -> Self:
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise SourceError(
                f"the Pi's own camera needs picamera2: {error}",
                hint="apt install python3-picamera2, and make the agent's environment with --system-site-packages",
            ) from error
        try:
            self._camera = Picamera2(_number_of(self._config.device))
            self._configure()
            self._camera.start()
        except _ERRORS as error:
            self._close()
            raise SourceError(
                f"the camera {self._config.device} cannot be opened: {error}",
                hint="`rpicam-hello --list-cameras` shows those there are; another program may be using it",
            ) from error
        self._thinning = Thinning(self._clock, every_n=self._config.every_n, max_fps=self._config.max_fps)
        self._number = -1
        self._last_s = self._clock.monotonic_s()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def take(self, wanted: Wanted) -> Frame | Nothing:  # noqa: ARG002  # a picture has no columns
        request = self._next_request()
        if request is None:
            return Nothing()
        try:
            self._number += 1
            if not self._thinning.lets_through():
                return Nothing()
            content = request.make_buffer("main")  # a copy
            captured_s = self._clock.now_s() - _age_s(request.get_metadata())
        finally:
            request.release()
        name = str(self._number)
        return Frame(name, captured_s, raw_picture(content, self._pixels, f"{self._config.device}, picture {name}"))

    def _next_request(self) -> Any:
        """None if none comes in time; then the same one is waited for the next time."""
        try:
            if self._job is None:
                self._job = self._camera.capture_request(wait=False)
            request = self._camera.wait(self._job, timeout=_WAIT_S)
        except TimeoutError:
            if self._clock.monotonic_s() - self._last_s < _SILENT_S:
                return None
            raise SourceError(
                f"the camera {self._config.device} has sent nothing for {_SILENT_S:g} s",
                hint="check its ribbon cable",
            ) from None
        except _ERRORS as error:
            raise SourceError(f"the camera {self._config.device} fails: {error}") from error
        self._job = None
        self._last_s = self._clock.monotonic_s()
        return request

    def _configure(self) -> None:
        config = self._config
        frame_us = round(1_000_000 / config.camera_fps) if config.camera_fps else None
        controls = {"FrameDurationLimits": (frame_us, frame_us)} if frame_us else {}
        # libcamera takes even sizes only, and may change them: what it has made of them is read back.
        size_px = (config.width_px // 2 * 2, config.height_px // 2 * 2)
        asked = self._camera.create_video_configuration(
            main={"size": size_px, "format": "YUV420"}, buffer_count=_BUFFERS, controls=controls
        )
        self._camera.configure(asked)
        agreed = self._camera.camera_config
        (width, height), stride = agreed["main"]["size"], agreed["main"]["stride"]
        matrix, full_range = _colors(agreed.get("colour_space"))
        self._pixels = PixelFormat("YU12", width, height, stride, matrix, full_range)

    def _close(self) -> None:
        self._job = None
        if self._camera is not None:
            with suppress(*_ERRORS):  # what is broken may not be closed in order
                self._camera.close()  # stops it, too
            self._camera = None


def _number_of(device: str) -> int:
    """`csi` is the first, `csi:1` the second; the configuration lets no other through."""
    return int(device.partition(":")[2] or 0)


def _colors(space: Any) -> tuple[Literal["bt601", "bt709"], bool]:
    """Matrix, and whether the range is full, of a libcamera.ColorSpace."""
    encoding, reach = (str(getattr(space, name, "")) for name in ("ycbcrEncoding", "range"))
    return ("bt709" if "709" in encoding else "bt601"), "Full" in reach


def _age_s(metadata: dict[str, Any]) -> float:
    """How long ago the first line of the picture was taken; the sensor's clock is CLOCK_BOOTTIME."""
    stamp_ns = metadata.get("SensorTimestamp")
    if stamp_ns is None:
        return 0.0
    age_s = (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(stamp_ns)) / 1e9
    return age_s if 0 <= age_s <= _OLDEST_S else 0.0
