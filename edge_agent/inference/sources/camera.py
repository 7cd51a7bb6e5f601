"""A camera at /dev/video*: what is made of the bytes that `v4l2` brings. The Pi's own one is left to `csi`.

Motion JPEG is handed on undecoded, raw formats as their planes; only a camera's H.264 needs PyAV.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edge_agent.clock import Clock
from edge_agent.config.sources import CameraSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.libav import Decoder, Shot, unpacked_yuyv
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.inference.sources.v4l2 import Asked, CaptureDevice, Grabbed, PixelFormat, open_device
from edge_agent.transform.picture import Picture, YuvPicture, open_picture

_WAIT_S = 0.5  # for one picture, before something else may be asked of us
_SILENT_S = 10.0  # without a picture, before it is opened anew
_OLDEST_S = 5.0  # of a picture: what claims to be older was stamped by another clock
_JPEG = ("MJPG", "JPEG")
_RAW = ("YUYV", "NV12", "YU12")
_H264 = ("H264",)
_FOURCCS = {"auto": (*_JPEG, *_RAW, *_H264), "mjpeg": _JPEG, "yuyv": ("YUYV",), "h264": _H264}


class Camera:
    """Pictures are named by their number since it was opened, and stamped with the time the driver got them."""

    def __init__(
        self, config: CameraSource, clock: Clock, open_camera: Callable[[str, Asked], CaptureDevice] = open_device
    ) -> None:
        self._config = config
        self._clock = clock
        self._open_camera = open_camera
        self._device: CaptureDevice | None = None
        self._decoder: Decoder | None = None
        self._thinning = Thinning(clock)
        self._number = -1
        self._last_s = 0.0

    def __enter__(self) -> Self:
        config = self._config
        asked = Asked(config.width_px, config.height_px, config.camera_fps, _FOURCCS[config.format])
        self._decoder = Decoder("h264", config.device) if config.format == "h264" else None
        self._device = self._open_camera(config.device, asked)
        self._thinning = Thinning(self._clock, every_n=config.every_n, max_fps=config.max_fps)
        self._number = -1
        self._last_s = self._clock.monotonic_s()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device is not None:
            self._device.close()
        self._device = self._decoder = None

    def take(self, wanted: Wanted) -> Frame | Unusable | Nothing:  # noqa: ARG002  # a picture has no columns
        assert self._device is not None, "a source is entered before anything is taken from it"
        grabbed = self._device.grab(_WAIT_S)
        now_s = self._clock.monotonic_s()
        if grabbed is None:
            if now_s - self._last_s >= _SILENT_S:
                raise SourceError(
                    f"the camera {self._config.device} has sent nothing for {_SILENT_S:g} s",
                    hint="plug it in again; a weak power supply or a long cable does this, too",
                )
            return Nothing()
        self._last_s = now_s
        self._number += 1
        pixels = self._device.pixel_format
        if pixels.fourcc not in _H264 and not self._thinning.lets_through():  # of H.264 none can be left out
            return Nothing()
        name = f"{self._config.device}, picture {self._number}"
        try:
            picture = self._picture(grabbed, pixels, name)
        except FrameError as error:
            return Unusable(str(self._number), str(error))
        age_s = now_s - grabbed.taken_s if grabbed.taken_s is not None else 0.0
        captured_s = self._clock.now_s() - (age_s if 0 <= age_s <= _OLDEST_S else 0.0)
        return Frame(str(self._number), captured_s, picture) if picture is not None else Nothing()

    def _picture(self, grabbed: Grabbed, pixels: PixelFormat, name: str) -> Picture | None:
        """None while a decoder has not got enough for one.

        Raises:
            FrameError: it is damaged.
        """
        if pixels.fourcc in _H264:
            if self._decoder is None:
                self._decoder = Decoder("h264", self._config.device)
            found = self._decoder.decode(grabbed.content, self._thinning)
            if isinstance(found, Shot):
                return found.picture
            if isinstance(found, Nothing):
                return None
            raise FrameError(f"{name}: {found.detail}")
        if grabbed.damaged:
            raise FrameError(f"{name} is damaged, says the driver", hint="try a shorter cable, or a hub with power")
        if pixels.fourcc in _JPEG:
            return open_picture(grabbed.content, name)
        return raw_picture(grabbed.content, pixels, name)


def raw_picture(content: "bytes | NDArray[np.uint8]", pixels: PixelFormat, name: str) -> YuvPicture:
    """The planes of a raw format, in `content` where they lie there one by one.

    Raises:
        FrameError: bytes are missing.
    """
    width, height, stride = pixels.width_px, pixels.height_px, pixels.stride_bytes
    packed = pixels.fourcc == "YUYV"
    chroma_rows = (height + 1) // 2
    needed = stride * (height if packed else height + chroma_rows)
    if len(content) < needed:
        raise FrameError(f"{name} has {len(content)} bytes; {width} x {height} px {pixels.fourcc} are {needed}")
    rows = np.frombuffer(content, np.uint8, needed).reshape(-1, stride)
    if packed:
        return YuvPicture(*unpacked_yuyv(rows, width), pixels.matrix, pixels.full_range, name)
    half = (width + 1) // 2
    if pixels.fourcc == "NV12":
        chroma = rows[height:, : 2 * half]
        u, v = chroma[:, 0::2], chroma[:, 1::2]
    else:  # YU12: rows of half the stride, all of U and then all of V
        halves = rows[height:].reshape(2, chroma_rows, stride // 2)
        u, v = halves[0, :, :half], halves[1, :, :half]
    return YuvPicture(rows[:height, :width], u, v, pixels.matrix, pixels.full_range, name)
