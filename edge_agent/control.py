"""The local control socket: how `edge-agent status` and `rollback` talk to the running agent.

A Unix socket in the state directory, one JSON request and one JSON answer a connection. Who may open it is decided by
the directory's permissions. What a request means is left to `service`.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Self

from edge_agent.errors import EdgeError

SOCKET_NAME = "control.sock"
_TIMEOUT_S = 60.0  # a roll back has to stop one model and start another
_MAX_REQUEST_BYTES = 65_536

Answer = Mapping[str, Any]


class NotRunningError(EdgeError):
    """No agent listens on the control socket."""


class ControlServer:
    """Answers requests on its own thread by calling `answer`, which raises EdgeError to refuse."""

    def __init__(self, state_dir: Path, answer: Callable[[Answer], Answer]) -> None:
        self._path = state_dir / SOCKET_NAME
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = Thread(target=self._serve, name="control", daemon=True)

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)  # left by an agent that was killed; the state lock says we are alone
        with _short_path(self._path) as address:
            self._socket.bind(address)
        self._path.chmod(0o660)
        self._socket.listen(4)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with connection, suppress(OSError):  # a client that went away costs only its own answer
                connection.settimeout(_TIMEOUT_S)
                connection.sendall(json.dumps(self._reply(connection)).encode() + b"\n")

    def _reply(self, connection: socket.socket) -> Answer:
        try:
            request = json.loads(_read_line(connection, _MAX_REQUEST_BYTES))
            if not isinstance(request, dict):
                raise EdgeError("expected a JSON object")  # noqa: TRY301
            return {"ok": True, **self._answer(request)}
        except (ValueError, RecursionError) as error:
            return {"ok": False, "error": f"expected one line of JSON: {error}", "hint": None}
        except EdgeError as error:
            return {"ok": False, "error": str(error), "hint": error.hint}


def ask(state_dir: Path, request: Answer) -> Answer:
    """Send one request to the running agent.

    Raises:
        NotRunningError: nobody listens.
        EdgeError: the agent refused.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            with _short_path(state_dir / SOCKET_NAME) as address:
                connection.connect(address)
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_read_line(connection, 10_000_000))
        except PermissionError as error:
            raise EdgeError(
                f"{state_dir}: permission denied", hint="run it as root or as the agent's user: sudo -u edge-agent ..."
            ) from error
        except (OSError, ValueError) as error:
            raise NotRunningError(
                f"no agent answers in {state_dir}", hint="start it: systemctl start edge-agent, or edge-agent run"
            ) from error
    if not answer.pop("ok", False):
        raise EdgeError(str(answer.get("error")), hint=answer.get("hint"))
    return dict(answer)


def _read_line(connection: socket.socket, limit: int) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        part = connection.recv(65_536)
        if not part or len(received) > limit:
            break
        received += part
    return received


@contextmanager
def _short_path(path: Path) -> Iterator[str]:
    """A path below the 108 bytes of a Unix socket's address, however deep the state directory lies (unix(7))."""
    if len(os.fsencode(path)) < 100 or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
