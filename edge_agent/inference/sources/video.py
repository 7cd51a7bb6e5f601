"""A video file as a source. The only place that imports av, and only when a video is opened."""

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edge_agent.clock import Clock
from edge_agent.config.sources import VideoSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Frame, Wanted

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer


class Video:
    """Every n-th frame, named by its number in the file (from 0)."""

    def __init__(self, config: VideoSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._number = -1

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def take(self, wanted: Wanted) -> Frame | None:  # a picture has no columns
        frame = self._next()
        if frame is None and self._number < 0:
            raise SourceError(f"{self._config.path} holds no video frame", hint="it may be cut off; copy it again")
        if frame is None:
            if not self._config.repeat:
                return None
            self._close()
            self._open()
            return self.take(wanted)
        # The copy as RGB is made here: what libav owns must not outlive its container.
        return Frame(str(self._number), self._clock.now_s(), frame.to_image())  # type: ignore[no-untyped-call]  # av leaves its keywords untyped

    def _next(self) -> "VideoFrame | None":
        """The next frame that is wanted, None at the end."""
        import av

        try:
            for frame in self._frames:
                self._number += 1
                if self._number % self._config.every_n == 0:
                    return frame
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{self._config.path} cannot be decoded behind frame {self._number}: {_text(error)}",
                hint="the file may be damaged; copy it again",
            ) from error
        return None

    def _open(self) -> None:
        try:
            import av
        except ImportError as error:
            raise SourceError("video files need PyAV", hint="pip install 'edge-deploy[video]'") from error
        path = self._config.path
        try:
            self._container = av.open(str(path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise SourceError(
                f"{path} cannot be opened as a video: {_text(error)}",
                hint="check `path`; the service sees nothing below /home; the agent tries again by itself",
            ) from error
        if not self._container.streams.video:
            self._close()
            raise SourceError(f"{path} holds no video stream", hint="give a video file, MP4 or MKV for example")
        stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1  # decoding must not take the cores from the interpreter
        self._frames = self._container.decode(stream)
        self._number = -1

    def _close(self) -> None:
        self._frames = iter(())
        if self._container is not None:
            self._container.close()
            self._container = None


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
