"""FFmpeg's demuxers and decoders, by PyAV (extra `video`). The only place that imports av, and only when it is needed.

Every picture that leaves here is a copy of our own: what libav owns must not outlive its container. Motion JPEG is not
decoded at all: that is part of preparing a picture, and may happen at reduced size. What files, streams and cameras are
opened with is left to `video`, `stream` and `camera`.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Nothing
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.transform.picture import Picture, Plane, Rotation, YuvPicture, open_picture

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

_MOST_FAULTS = 50  # of reading, one behind the other, before a file is given up
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")  # taken as they are
# AVColorSpace and AVColorRange, libavutil/pixfmt.h: ITU-T H.273's numbers.
_BT709, _UNSPECIFIED, _BT601 = 1, 2, (5, 6)
_FULL_RANGE = 2
_HD_WIDTH_PX, _SD_HEIGHT_PX = 1280, 576
_ROTATIONS: dict[int, Rotation] = {0: 0, 90: 270, -90: 90, 180: 180, -180: 180}  # counter-clockwise to clockwise


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """One picture of a file or stream, and how it has to be turned (clockwise) to stand upright."""

    number: int  # from 0
    picture: Picture
    rotate_deg: Rotation = 0


@dataclass(frozen=True, slots=True)
class Damage:
    """A picture that could not be read. What comes behind it may be fine."""

    number: int
    detail: str


class Decoder:
    """Pictures out of packets of one codec that come from elsewhere, such as a camera's H.264."""

    def __init__(self, codec: str, name: str) -> None:
        _import_av("a camera's H.264")
        import av

        self._codec = cast("VideoCodecContext", av.CodecContext.create(codec, "r"))
        self._codec.thread_count = 1
        self._name = name
        self._number = -1

    def decode(self, content: bytes, thinning: Thinning) -> Shot | Damage | Nothing:
        """The picture that a packet completes: the newest, if there are several."""
        import av

        try:
            frames = self._codec.decode(av.Packet(content))
        except (av.error.FFmpegError, ValueError) as error:
            self._number += 1
            return Damage(self._number, f"a packet of {len(content)} bytes cannot be decoded: {text_of(error)}")
        self._number += len(frames)
        wanted = [frame for frame in frames if thinning.lets_through()]
        return _shot(self._number, wanted[-1], self._name) if wanted else Nothing()


class Reader:
    """The pictures of the first video stream of `url`, in their order. Opened when it is made.

    Raises:
        SourceError: it cannot be opened, or holds no video.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        options: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        hint: str,
        live: bool = False,
    ) -> None:
        """`name` is what it is called in errors (a URL may hold a password). A live one ends with its first fault."""
        _import_av("a video")
        import av

        self._name = name
        self._live = live
        self._timeout_s = timeout_s
        self._number = -1
        self._faults = 0
        self._waiting: deque[VideoFrame] = deque()
        try:
            self._container: InputContainer = av.open(url, options=dict(options or {}), timeout=timeout_s)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(f"{name} cannot be opened as a video: {self._told(error)}", hint=hint) from error
        if not self._container.streams.video:
            self.close()
            raise SourceError(f"{name} holds no video stream", hint="give a video, H.264 in MP4 or MKV for example")
        self._stream: VideoStream = self._container.streams.video[0]
        codec = cast("VideoCodecContext | None", self._stream.codec_context)
        if codec is None:  # libav knows the container, but not what is in it
            self.close()
            raise SourceError(f"{name} is of a codec that this PyAV cannot decode", hint="record it as H.264")
        codec.thread_count = 1  # decoding must not take the cores from the interpreter
        self._encoded = codec.name == "mjpeg"
        self._packets: Iterator[Packet[VideoStream]] = self._container.demux(self._stream)

    def close(self) -> None:
        self._waiting.clear()  # frames go before their container
        self._container.close()

    @property
    def number(self) -> int:
        """Of the last picture, -1 before the first."""
        return self._number

    def take(self, thinning: Thinning) -> Shot | Damage | Nothing | None:
        """The next picture; Nothing for one that is not used; None at the end.

        Raises:
            SourceError: nothing more comes.
        """
        while not self._waiting:
            packet = self._next_packet()
            if packet is None or isinstance(packet, Damage):
                return packet
            found = self._encoded_shot(packet, thinning) if self._encoded else self._decode(packet)
            if found is not None:
                return found
        self._number += 1
        frame = self._waiting.popleft()
        if frame.is_corrupt:
            return Damage(self._number, "parts of it are missing")
        return _shot(self._number, frame, self._name) if thinning.lets_through() else Nothing()

    def _told(self, error: Exception) -> str:
        """A time-out has the name of damage in libav (av.error.InvalidDataError)."""
        import av

        if self._timeout_s is not None and isinstance(error, av.error.InvalidDataError):
            return f"nothing came for {self._timeout_s:g} s, or nothing that is a video"
        return text_of(error)

    def _next_packet(self) -> "Packet[VideoStream] | Damage | None":
        import av

        try:
            packet = next(self._packets, None)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._faults += 1
            if self._live or self._faults > _MOST_FAULTS:
                raise SourceError(
                    f"{self._name} cannot be read behind picture {self._number}: {self._told(error)}",
                    hint=None if self._live else "it is damaged; copy it again",
                ) from error
            self._packets = self._container.demux(self._stream)  # goes on behind what could not be read
            self._number += 1
            return Damage(self._number, f"the file cannot be read here: {text_of(error)}")
        self._faults = 0
        return packet

    def _decode(self, packet: "Packet[VideoStream]") -> Damage | None:
        import av

        try:
            self._waiting.extend(packet.decode())
        except (av.error.FFmpegError, ValueError) as error:
            self._number += 1
            return Damage(self._number, f"cannot be decoded: {text_of(error)}")
        return None

    def _encoded_shot(self, packet: "Packet[VideoStream]", thinning: Thinning) -> Shot | Damage | Nothing | None:
        content = bytes(packet)
        if not content:  # marks the end
            return None
        self._number += 1
        if not thinning.lets_through():
            return Nothing()
        try:
            return Shot(self._number, open_picture(content, f"{self._name}, picture {self._number}"))
        except FrameError as error:
            return Damage(self._number, str(error))


def text_of(error: Exception) -> str:
    """What has happened, without the URL, which may hold a password."""
    return getattr(error, "strerror", None) or str(error)


def picture_of(frame: "VideoFrame", name: str) -> Picture:
    """A copy of a decoded frame: its planes where it is YUV of 8 bits, else converted to YUV 4:2:0, or RGB.

    Colors are read as the frame says. Where it does not, BT.709 is taken from 1280 px of width or 577 of height on and
    BT.601 below, as players do (mpv, mp_csp_guess_colorspace).
    """
    if frame.format.is_rgb:  # a palette counts, too
        return frame.to_image()  # type: ignore[no-any-return, no-untyped-call]  # av leaves its keywords untyped
    full_range = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    space = frame.colorspace
    if space == _UNSPECIFIED:
        space = _BT709 if frame.width >= _HD_WIDTH_PX or frame.height > _SD_HEIGHT_PX else _BT601[0]
    if space not in (_BT709, *_BT601) or frame.format.name not in (*_PLANAR, "nv12", "yuyv422"):
        matrix: Literal["bt601", "bt709"] = "bt601" if space in _BT601 else "bt709"
        frame = frame.reformat(
            format="yuv420p",
            src_colorspace=space, dst_colorspace=_BT709 if matrix == "bt709" else _BT601[0],
            src_color_range=2 if full_range else 1, dst_color_range=2 if full_range else 1,
        )  # fmt: skip
    else:
        matrix = "bt709" if space == _BT709 else "bt601"
    y, u, v = _planes(frame)
    return YuvPicture(y, u, v, matrix, full_range, name)


def _shot(number: int, frame: "VideoFrame", name: str) -> Shot:
    picture = picture_of(frame, f"{name}, picture {number}")
    return Shot(number, picture, _ROTATIONS.get(round(frame.rotation / 90) * 90, 0))


def _planes(frame: "VideoFrame") -> tuple[Plane, Plane, Plane]:
    rows = [
        np.frombuffer(memoryview(plane), np.uint8)[: plane.line_size * plane.height].reshape(
            plane.height, plane.line_size
        )
        for plane in frame.planes
    ]
    width, half = frame.width, (frame.width + 1) // 2
    if frame.format.name == "nv12":
        chroma = rows[1][:, : 2 * half]
        return rows[0][:, :width].copy(), chroma[:, 0::2].copy(), chroma[:, 1::2].copy()
    if frame.format.name == "yuyv422":
        return unpacked_yuyv(rows[0], width)
    y, u, v = (row[:, : plane.width].copy() for row, plane in zip(rows, frame.planes, strict=True))
    return y, u, v


def unpacked_yuyv(rows: Plane, width_px: int) -> tuple[Plane, Plane, Plane]:
    """Copies of the planes of packed 4:2:2: Y U Y V for each two pixels, an even number of them in a row."""
    used = rows[:, : 2 * width_px]
    return used[:, 0::2].copy(), used[:, 1::4].copy(), used[:, 3::4].copy()


def _import_av(what: str) -> None:
    try:
        import av  # noqa: F401  # whoever calls imports it again, which then costs nothing
    except ImportError as error:
        raise SourceError(f"{what} needs PyAV", hint="pip install 'edge-deploy[video]'") from error
