"""A picture fetched from a URL again and again. How often is left to `capture`, which paces it."""

import hashlib
import http.client
from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.sources import StillSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Frame, Nothing, Unusable, Wanted
from edge_agent.inference.sources.thinning import Thinning
from edge_agent.inference.sources.web import Web, shown, trouble
from edge_agent.transform.picture import open_picture

MAX_PICTURE_BYTES = 64_000_000
_CHUNK_BYTES = 1 << 16


class Still:
    """What has not changed since the last time is not given again: by the server's word (ETag, date), or its bytes."""

    def __init__(self, config: StillSource, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._web: Web | None = None
        self._thinning = Thinning(clock)
        self._number = -1
        self._validators: dict[str, str] = {}
        self._digest = b""

    def __enter__(self) -> Self:
        config = self._config
        self._web = Web(config.url, config.username, config.password_file, config.timeout_s)
        self._thinning = Thinning(self._clock, every_n=config.every_n)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._web = None

    def take(self, wanted: Wanted) -> Frame | Unusable | Nothing:  # noqa: ARG002  # pictures have no columns
        content = self._fetch()
        captured_s = self._clock.now_s()
        if content is None or not self._is_new(content):
            return Nothing()
        self._number += 1
        if not self._thinning.lets_through():
            return Nothing()
        name = str(self._number)
        try:
            return Frame(name, captured_s, open_picture(content, f"{shown(self._config.url)}, picture {name}"))
        except FrameError as error:
            return Unusable(name, str(error))

    def _fetch(self) -> bytes | None:
        """None where the server says that it has not changed."""
        assert self._web is not None, "a source is entered before anything is taken from it"
        response = self._web.open(self._validators)
        if response is None:
            return None
        with response:
            try:
                content = self._read(response)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise trouble(self._config.url, error) from error
        asked = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))
        self._validators = {ask: response.headers[said] for said, ask in asked if said in response.headers}
        return content

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """All of it, in no more than the time-out: the socket's own begins anew with each byte."""
        ends_s = self._clock.monotonic_s() + self._config.timeout_s
        content = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            content += chunk
            if len(content) > MAX_PICTURE_BYTES:
                raise SourceError(
                    f"{shown(self._config.url)} gives more than {MAX_PICTURE_BYTES} bytes",
                    hint="check `url`: no picture is so large",
                )
            if self._clock.monotonic_s() > ends_s:
                raise TimeoutError
        if response.length:  # fewer than Content-Length has promised
            raise http.client.IncompleteRead(bytes(content), response.length)
        return bytes(content)

    def _is_new(self, content: bytes) -> bool:
        digest = hashlib.sha256(content).digest()
        new, self._digest = digest != self._digest, digest
        return new
