"""Results by HTTP POST, one after the other, each tried until it is taken, refused, or too old.

Redirects are not followed: they would turn a POST into a GET, and carry the headers to strangers. Which results are
sent at all is `gate`.
"""

import http.client
import random
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_agent import __version__
from edge_agent.clock import Clock
from edge_agent.config.sinks import WebhookSink as WebhookConfig
from edge_agent.errors import InputError
from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks.aside import AsideSink
from edge_agent.inference.sinks.gate import Gate
from edge_agent.inference.sinks.headers import read_headers
from edge_agent.inference.sinks.tree import ResultFormat

_LATER = (408, 425, 429)  # of the 4xx, those that say "not now" (RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4)
_FIRST_PAUSE_S = 1.0  # doubles, up to the longest; the pause is a random share of it
_LONGEST_PAUSE_S = 60.0
_CLOSE_S = 2.0  # for what waits, once the agent ends
_ANSWER_BYTES = 65_536  # read of an answer, so that the connection can be used again


@dataclass(frozen=True, slots=True, eq=False)
class _Message:
    body: bytes
    taken_s: float


class _TryAgainError(Exception):
    """It was not delivered, and later it may be."""


class _RefusedError(Exception):
    """It was not delivered, and never will be."""


class WebhookSink(AsideSink[_Message]):
    """POSTs with a JSON object each, in order. One that was tried again may arrive twice."""

    def __init__(
        self, config: WebhookConfig, results: ResultFormat, clock: Clock, *, share: Callable[[], float] = random.random
    ) -> None:
        super().__init__(f"webhook-{results.pipeline}", config.waiting, _CLOSE_S)
        self._config = config
        self._results = results
        self._clock = clock
        self._share = share  # of a pause, 0 to 1: full jitter
        self._gate = Gate(config.when, config.min_interval_s, clock, self._accept)
        self._post = _Post(config)

    def take(self, result: Result) -> None:
        self._gate.take(result)

    def flush(self) -> None:
        self._gate.flush()

    def close(self) -> None:
        self._gate.flush()
        super().close()
        if self._thread.is_alive():  # in the middle of a request
            self._post.abort()

    def _accept(self, result: Result) -> bool:
        self._hand_over(self._item(result))
        return True

    def _item(self, result: Result) -> _Message:
        return _Message(self._results.text(result), self._clock.monotonic_s())

    def _work(self) -> None:
        failures = 0
        while self._backlog.wait_for_some():
            message = self._backlog.first()
            if message is None:
                continue
            age_s = self._clock.monotonic_s() - message.taken_s
            if failures and age_s > self._config.retry_s:
                self._backlog.remove(message)
                self._lost(f"{self._problem or self._post.name}; given up after {self._config.retry_s:.0f} s")
                continue
            try:
                self._post.send(message.body)
            except _TryAgainError as error:
                self._problem = str(error)
                longest_s = min(_FIRST_PAUSE_S * 2.0 ** min(failures, 16), _LONGEST_PAUSE_S)
                failures += 1
                if self._backlog.pause(longest_s * self._share()):
                    break
                continue
            except _RefusedError as error:
                self._lost(str(error))
            else:
                self._problem = None
            failures = 0
            self._backlog.remove(message)
        self._post.close()


class _Post:
    """One kept connection to the place that a URL names. Its messages name only that place: paths are secrets often."""

    def __init__(self, config: WebhookConfig) -> None:
        parts = urlsplit(config.url)
        self._config = config
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.name = f"{parts.scheme}://{parts.netloc}"
        self._connection: http.client.HTTPConnection | None = None

    def send(self, body: bytes) -> None:
        """POST it, on the connection there is or a new one.

        Raises:
            _TryAgainError, _RefusedError
        """
        kept = self._connection is not None
        try:
            self._send(body)
        except (OSError, http.client.HTTPException, InputError, UnicodeError) as error:
            self.close()
            if kept and isinstance(error, ConnectionError):  # a server may close what it was not asked on for a while
                self.send(body)
                return
            raise _TryAgainError(f"{self.name}: {_reason(error)}") from error

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """From another thread: whoever waits for an answer stops waiting."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _send(self, body: bytes) -> None:
        headers = read_headers(self._config.header_file) if self._config.header_file else {}
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edge-deploy/{__version__}",
            **headers,
        }
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._target, body, headers)
        answer = self._connection.getresponse()
        answer.read(_ANSWER_BYTES)
        if not answer.isclosed():  # there is more of it than anybody needs
            self.close()
        if answer.status in _LATER or answer.status >= 500:
            raise _TryAgainError(f"{self.name} answered {_told(answer)}")
        if not 200 <= answer.status < 300:
            moved = " (redirects are not followed: state the address it leads to)" if 300 <= answer.status < 400 else ""
            raise _RefusedError(f"{self.name} answered {_told(answer)}{moved}")

    def _connect(self) -> http.client.HTTPConnection:
        timeout_s = self._config.timeout_s
        if self._secure:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)


def _told(answer: http.client.HTTPResponse) -> str:
    phrase = "".join(letter for letter in answer.reason[:60] if letter.isprintable())
    return f"{answer.status} {phrase}".rstrip()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, UnicodeError):
        return "no name of a host"
    return f"no proper answer ({type(error).__name__})"
