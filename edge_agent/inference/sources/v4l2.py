"""Linux cameras by the kernel's own interface, Video for Linux 2: no library needed, the picture is copied once.

By FFmpeg a read of a camera that has stopped sending waits for ever, whatever time-out it was given (libavdevice/v4l2.c
waits in the ioctl; seen with PyAV 18.1 and v4l2loopback); here every wait has an end. What is made of the bytes is left
to `camera`.

Source: https://docs.kernel.org/userspace-api/media/v4l/v4l2.html and linux/videodev2.h; streaming by mmap, §3.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import select
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from edge_agent.errors import SourceError
from edge_agent.inference.sources import v4l2_abi as abi

_BUFFERS = 4
_MOST_NAMED = 8  # formats, in an error
_VIDEO_CAPTURE, _MMAP, _ANY_FIELD = 1, 1, 0
_CAN_CAPTURE, _CAN_STREAM, _HAS_DEVICE_CAPS = 0x1, 0x0400_0000, 0x8000_0000
_BUFFER_ERROR, _CLOCK_MASK, _CLOCK_MONOTONIC = 0x40, 0xE000, 0x2000
_TIME_PER_FRAME = 0x1000
_JPEG, _REC709 = 7, 3  # enum v4l2_colorspace
_ENCODED_709, _ENCODED_601 = (2, 4), (1, 3)  # enum v4l2_ycbcr_encoding
_FULL, _LIMITED = 1, 2  # enum v4l2_quantization


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """What a camera has agreed to send."""

    fourcc: str  # MJPG, YUYV, ...
    width_px: int
    height_px: int
    stride_bytes: int
    matrix: Literal["bt601", "bt709"] = "bt601"
    full_range: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Grabbed:
    """The bytes of one picture, a copy."""

    content: bytes
    taken_s: float | None  # by the monotonic clock; None: unknown
    damaged: bool = False


class CaptureDevice(Protocol):
    """A camera that sends."""

    @property
    def pixel_format(self) -> PixelFormat: ...

    def grab(self, timeout_s: float) -> Grabbed | None:
        """The next picture; None if none comes in time.

        Raises:
            SourceError: it has been unplugged.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What a camera is asked for. It may answer with something near it."""

    width_px: int
    height_px: int
    fps: float | None
    fourccs: Sequence[str]  # the best first


def open_device(path: str, asked: Asked) -> CaptureDevice:
    """Make the camera send.

    Raises:
        SourceError: it is not there, busy, not ours to use, no camera, or has none of the formats.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_open(path, error) from error
    with ExitStack() as undo:
        undo.callback(os.close, descriptor)
        try:
            device = _Device(path, descriptor, asked)
        except OSError as error:
            raise _cannot_open(path, error) from error
        undo.pop_all()
    return device


class _Device:
    def __init__(self, path: str, descriptor: int, asked: Asked) -> None:
        self._path = path
        self._descriptor = descriptor
        self._maps: list[mmap.mmap] = []
        self._check()
        self.pixel_format = self._agree(asked)
        self._set_pace(asked.fps)
        self._begin()

    def grab(self, timeout_s: float) -> Grabbed | None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        try:
            if not poll.poll(timeout_s * 1000):
                return None
            buffer = abi.Buffer(type=_VIDEO_CAPTURE, memory=_MMAP)
            self._call(abi.DQBUF, buffer)
            content = self._maps[buffer.index][: buffer.bytesused]
            self._call(abi.QBUF, buffer)
        except BlockingIOError:
            return None
        except OSError as error:
            gone = "has been unplugged" if error.errno == errno.ENODEV else f"fails: {error.strerror}"
            raise SourceError(f"the camera {self._path} {gone}") from error
        known = buffer.flags & _CLOCK_MASK == _CLOCK_MONOTONIC
        taken_s = buffer.timestamp_s + buffer.timestamp_us / 1e6 if known else None
        return Grabbed(content, taken_s, damaged=bool(buffer.flags & _BUFFER_ERROR))

    def close(self) -> None:
        with suppress(OSError):  # it may be gone
            self._call(abi.STREAMOFF, ctypes.c_int(_VIDEO_CAPTURE))
        for mapped in self._maps:
            mapped.close()
        os.close(self._descriptor)

    def _check(self) -> None:
        told = abi.Capability()
        self._call(abi.QUERYCAP, told)
        able = told.device_caps if told.capabilities & _HAS_DEVICE_CAPS else told.capabilities
        if not (able & _CAN_CAPTURE and able & _CAN_STREAM):
            card = bytes(told.card).split(b"\0")[0].decode("utf-8", "replace")
            raise SourceError(
                f"{self._path} ({card}) is a video device, but none that gives pictures this way",
                hint=f'a USB camera has two, the first is the one; {_others()}; the Pi\'s own camera is device = "csi"',
            )

    def _agree(self, asked: Asked) -> PixelFormat:
        offered = self._offered()
        fourcc = next((name for name in asked.fourccs if name in offered), None)
        if fourcc is None:
            named = ", ".join(offered[:_MOST_NAMED]) + (", ..." if len(offered) > _MOST_NAMED else "")
            raise SourceError(
                f"the camera {self._path} gives {named or 'no format'}; expected {' or '.join(asked.fourccs)}",
                hint='leave `format` of the source "auto", or name one that it gives',
            )
        wanted = abi.Format(type=_VIDEO_CAPTURE)
        wanted.fmt.pix.width, wanted.fmt.pix.height = asked.width_px, asked.height_px
        wanted.fmt.pix.pixelformat, wanted.fmt.pix.field = _number(fourcc), _ANY_FIELD
        self._call(abi.S_FMT, wanted)
        pix = wanted.fmt.pix
        return PixelFormat(
            _name(pix.pixelformat), pix.width, pix.height, pix.bytesperline,
            _matrix(pix.ycbcr_enc, pix.colorspace), _is_full_range(pix.quantization, pix.colorspace),
        )  # fmt: skip

    def _offered(self) -> list[str]:
        found: list[str] = []
        with suppress(OSError):  # EINVAL ends the list
            while True:
                description = abi.FormatDescription(index=len(found), type=_VIDEO_CAPTURE)
                self._call(abi.ENUM_FMT, description)
                found.append(_name(description.pixelformat))
        return found

    def _set_pace(self, fps: float | None) -> None:
        if fps is None:
            return
        parameters = abi.Parameters(type=_VIDEO_CAPTURE)
        with suppress(OSError):  # not every driver has a pace to be set: then it is the camera's own
            self._call(abi.G_PARM, parameters)
            if parameters.capture.capability & _TIME_PER_FRAME:
                parameters.capture.numerator, parameters.capture.denominator = 1000, round(fps * 1000)
                self._call(abi.S_PARM, parameters)

    def _begin(self) -> None:
        request = abi.Request(count=_BUFFERS, type=_VIDEO_CAPTURE, memory=_MMAP)
        self._call(abi.REQBUFS, request)
        for index in range(request.count):
            buffer = abi.Buffer(index=index, type=_VIDEO_CAPTURE, memory=_MMAP)
            self._call(abi.QUERYBUF, buffer)
            self._maps.append(mmap.mmap(self._descriptor, buffer.length, offset=buffer.m.offset))
            self._call(abi.QBUF, buffer)
        self._call(abi.STREAMON, ctypes.c_int(_VIDEO_CAPTURE))

    def _call(self, request: int, argument: "ctypes.Structure | ctypes.c_int") -> None:
        fcntl.ioctl(self._descriptor, request, argument)


def _cannot_open(path: str, error: OSError) -> SourceError:
    hints = {
        errno.ENOENT: f"is it plugged in? {_others()}",
        errno.EACCES: "add the agent's user to the group video: usermod -aG video USER",
        errno.EBUSY: f"another program uses it: fuser -v {path}",
        errno.ENOTTY: f"it is no camera; {_others()}",
        errno.ENOSPC: "the USB bus has no room left: use format mjpeg, a smaller picture, or another port",
    }
    hint = hints.get(error.errno or 0)
    return SourceError(f"the camera {path} cannot be opened: {error.strerror}", hint=hint)


def _others() -> str:
    """The video devices there are."""
    with suppress(OSError):
        found = sorted(name for name in os.listdir("/dev") if name.startswith("video"))
        return f"there is {', '.join(f'/dev/{name}' for name in found)}" if found else "there is no /dev/video*"
    return "look into /dev"


def _matrix(encoding: int, colorspace: int) -> Literal["bt601", "bt709"]:
    """As V4L2_MAP_YCBCR_ENC_DEFAULT has it where a driver says nothing."""
    if encoding in _ENCODED_709 or (encoding not in _ENCODED_601 and colorspace == _REC709):
        return "bt709"
    return "bt601"


def _is_full_range(quantization: int, colorspace: int) -> bool:
    """As V4L2_MAP_QUANTIZATION_DEFAULT has it where a driver says nothing."""
    return quantization == _FULL or (quantization != _LIMITED and colorspace == _JPEG)


def _number(fourcc: str) -> int:
    return int.from_bytes(fourcc.encode("ascii"), "little")


def _name(number: int) -> str:
    return number.to_bytes(4, "little").decode("latin-1").strip()
