"""A network camera as a source: RTSP and MPEG-TS by `libav`, motion JPEG over HTTP without it.

Motion JPEG is read with the standard library, as it is headers and JPEGs and nothing more: such a device needs no
PyAV (100 MB of disk, 17 MB of memory), and a picture is decoded only when a model wants it. The stream is read on as
fast as it comes, so nothing piles up on the way; which picture waits is left to `pipeline`.
"""

import http.client
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote, urlsplit, urlunsplit

from edge_agent.clock import Clock
from edge_agent.config.sources import StreamSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.libav import Damage, Reader, Shot
from edge_agent.inference.sources.multipart import MultipartError, Parts, boundary_of
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.inference.sources.web import Web, read_password, shown, trouble
from edge_agent.transform.picture import View, open_picture

MAX_PICTURE_BYTES = 64_000_000
_HINT = "is the camera on, and `url` right?"


class _Pictures(Protocol):
    def take(self, thinning: Thinning) -> Shot | Damage | Nothing | None: ...


class Stream:
    """Pictures are named by their number since it was opened."""

    def __init__(self, config: StreamSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._shown = shown(config.url)
        self._parts = ExitStack()
        self._pictures: _Pictures | None = None
        self._thinning = Thinning(clock)
        self._last_s = 0.0

    def __enter__(self) -> Self:
        config = self._config
        with ExitStack() as parts:
            self._pictures = self._open(parts)
            self._parts = parts.pop_all()
        self._thinning = Thinning(self._clock, every_n=config.every_n, max_fps=config.max_fps)
        self._last_s = self._clock.monotonic_s()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pictures = None
        self._parts.close()

    def take(self, wanted: Wanted) -> Frame | Unusable | Nothing:  # noqa: ARG002  # a picture has no columns
        assert self._pictures is not None, "a source is entered before anything is taken from it"
        found = self._pictures.take(self._thinning)
        now_s = self._clock.monotonic_s()
        if isinstance(found, Damage):
            if now_s - self._last_s > self._config.timeout_s:
                raise SourceError(f"{self._shown}: no whole picture for {self._config.timeout_s:g} s", hint=_HINT)
            return Unusable(str(found.number), f"{self._shown}, picture {found.number}: {found.detail}")
        if found is None:
            raise SourceError(f"{self._shown}: the stream has ended", hint=_HINT)
        self._last_s = now_s
        if isinstance(found, Nothing):
            return found
        return Frame(str(found.number), self._clock.now_s(), found.picture, View(found.rotate_deg))

    def _open(self, parts: ExitStack) -> _Pictures:
        config = self._config
        if config.url.startswith(("http://", "https://")):
            response = Web(config.url, config.username, config.password_file, config.timeout_s).open()
            if response is None:
                raise SourceError(f"{self._shown} answers 304 Not Modified", hint=_HINT)
            content_type = response.headers.get("Content-Type", "")
            boundary = boundary_of(content_type)
            if boundary is not None:
                parts.callback(response.close)
                return _MotionJpeg(config.url, response, boundary)
            response.close()
            if content_type.startswith(("text/", "image/")):
                kind = 'kind = "still" for single pictures' if content_type.startswith("image/") else "check `url`"
                raise SourceError(f"{self._shown} gives {content_type}, expected a video or motion JPEG", hint=kind)
        reader = Reader(
            with_credentials(config.url, config.username, read_password(config.password_file)),
            name=self._shown,
            options=_options(config),
            timeout_s=config.timeout_s,
            hint=_HINT,
            live=True,
        )
        parts.callback(reader.close)
        return reader


class _MotionJpeg:
    """The pictures of a multipart answer."""

    def __init__(self, url: str, response: http.client.HTTPResponse, boundary: bytes) -> None:
        self._url = shown(url)
        self._parts = Parts(response.read1, boundary, MAX_PICTURE_BYTES)
        self._number = -1

    def take(self, thinning: Thinning) -> Shot | Damage | Nothing | None:
        try:
            content = self._parts.next()
        except MultipartError as error:
            raise SourceError(f"{self._url} is no motion JPEG: {error}", hint="check `url`") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise trouble(self._url, error) from error
        if content is None:
            return None
        self._number += 1
        if not thinning.lets_through():
            return Nothing()
        try:
            return Shot(self._number, open_picture(content, f"{self._url}, picture {self._number}"))
        except FrameError as error:
            return Damage(self._number, str(error))


def with_credentials(url: str, username: str | None, password: str) -> str:
    """The URL as libav wants it. Never to be shown."""
    if username is None:
        return url
    parts = urlsplit(url)
    user = f"{quote(username, safe='')}:{quote(password, safe='')}@"
    return urlunsplit(parts._replace(netloc=f"{user}{parts.netloc}"))


def _options(config: StreamSource) -> dict[str, str]:
    """FFmpeg's, https://ffmpeg.org/ffmpeg-protocols.html#rtsp."""
    if not config.url.startswith(("rtsp://", "rtsps://")):
        return {}
    return {"rtsp_transport": config.transport, "allowed_media_types": "video"}
