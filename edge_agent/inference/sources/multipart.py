"""Motion JPEG over HTTP: pictures behind each other in one answer, each with headers of its own.

Source: multipart/x-mixed-replace as Netscape defined it and cameras send it; RFC 2046 §5.1 for boundaries. Cameras
differ in what they get wrong: boundaries without or with two more dashes, headers without Content-Length, bytes between
the parts. So a part's length is believed where it is given, and else the next boundary is looked for.
"""

from collections.abc import Callable
from email.message import Message

_MAX_LINE_BYTES = 8192
_MAX_HEADERS = 50


class MultipartError(ValueError):
    """It is not multipart, or a part is larger than anybody wants."""


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names, without leading dashes; None if it is no multipart."""
    message = Message()
    message["Content-Type"] = content_type
    if message.get_content_maintype() != "multipart":
        return None
    boundary = message.get_param("boundary")
    return boundary.strip().lstrip("-").encode("latin-1", "replace") if isinstance(boundary, str) else b""


class Parts:
    """Takes the parts apart. `read(n)` gives up to n bytes as soon as there are some, b"" at the end."""

    def __init__(self, read: Callable[[int], bytes], boundary: bytes, max_bytes: int) -> None:
        self._read = read
        self._boundary = boundary
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def next(self) -> bytes | None:
        """The next part's content; None at the end of the stream.

        Raises:
            MultipartError
            OSError: as `read` does.
        """
        if not self._skip_to_boundary():
            return None
        length = self._read_headers()
        if length is None:
            return self._until_boundary()
        while len(self._buffer) < length:
            if not self._fill():
                return None
        return self._cut(length)

    def _skip_to_boundary(self) -> bool:
        """Past the next boundary's line; False at the end. Bytes before it are nobody's."""
        skipped = 0
        while True:
            line = self._line()
            if line is None:
                return False
            skipped += len(line) + 1
            if skipped > self._max_bytes:
                raise MultipartError(f"no boundary {self._boundary.decode('latin-1')!r} in {skipped} bytes")
            text = line.strip()
            if text.startswith(b"--") and self._is_boundary(text):
                return True
            if self._boundary and text == self._boundary:
                return True

    def _is_boundary(self, line: bytes) -> bool:
        name = line.lstrip(b"-")
        return name.removesuffix(b"--") == self._boundary if self._boundary else bool(name)

    def _read_headers(self) -> int | None:
        """Past the empty line; gives the Content-Length, if it is one."""
        length: int | None = None
        for _ in range(_MAX_HEADERS):
            line = self._line()
            if not line or not line.strip():
                return length
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = int(value[:20])
                if length > self._max_bytes:
                    raise MultipartError(f"a part of {length} bytes; up to {self._max_bytes} are read")
        raise MultipartError(f"more than {_MAX_HEADERS} headers of one part")

    def _until_boundary(self) -> bytes | None:
        mark = b"\n--" + self._boundary if self._boundary else b"\n--"
        begin = 0
        while (found := self._buffer.find(mark, begin)) < 0:
            begin = max(0, len(self._buffer) - len(mark))
            if len(self._buffer) > self._max_bytes:
                raise MultipartError(f"no boundary in {len(self._buffer)} bytes")
            if not self._fill():
                return None
        content = self._cut(found + 1)
        return content[:-1].removesuffix(b"\r")

    def _line(self) -> bytes | None:
        """Without its end; None at the end of the stream."""
        begin = 0
        while (found := self._buffer.find(b"\n", begin)) < 0:
            begin = len(self._buffer)
            if begin > self._max_bytes or not self._fill():
                if begin > self._max_bytes:
                    raise MultipartError(f"no line end in {begin} bytes")
                return None
        return self._cut(found + 1)[:-1]

    def _fill(self) -> bool:
        more = self._read(1 << 16)
        self._buffer += more
        return bool(more)

    def _cut(self, length: int) -> bytes:
        content = bytes(self._buffer[:length])
        del self._buffer[:length]
        return content
