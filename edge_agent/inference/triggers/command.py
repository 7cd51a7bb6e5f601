"""A program that is started when a trigger fires: one at a time, with a time limit, on a thread of its own."""

import logging
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread
from typing import IO

from edge_agent.errors import describe_exit

_LOG = logging.getLogger(__name__)
_TAIL_BYTES = 2000  # of what it printed, kept for the log
_DRAIN_S = 1.0  # for the rest of its output, which something it has left behind may hold open
_CLOSE_S = 2.0
Tell = Callable[[str | None, str | None], None]  # problem and hint; None: it works


class Command:
    """A program and its arguments, never through a shell. What it prints goes to the log when it fails."""

    def __init__(self, arguments: tuple[str, ...], timeout_s: float, tell: Tell) -> None:
        self._arguments = arguments
        self._timeout_s = timeout_s
        self._tell = tell
        self._lock = Lock()
        self._thread: Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def run(self, text: bytes) -> None:
        """Start it, with `text` on its standard input. While the one before is running nothing is started."""
        if self._thread is not None and self._thread.is_alive():
            self._tell(f"{self._arguments[0]} was still running, so it was not started again", None)
            return
        self._thread = Thread(target=self._run, args=(text,), name="trigger-command", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End what is running."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _kill_group(self._process)
        if self._thread is not None:
            self._thread.join(_CLOSE_S)

    def _run(self, text: bytes) -> None:
        name = self._arguments[0]
        try:
            with tempfile.TemporaryFile() as standard_input:  # a pipe could fill up, and nobody read it
                standard_input.write(text)
                standard_input.seek(0)
                process = self._start(standard_input)
        except OSError as error:
            self._tell(f"{name} cannot be started: {error.strerror or error}", "check the path and its permissions")
            return
        if process is None:
            return
        with process:
            tail = _Tail(process)
            problem = self._wait_for(process)
            printed = tail.take()
        with self._lock:
            self._process = None
        if problem is not None and not self._closed:
            _LOG.warning("%s %s; it printed: %s", name, problem, printed or "nothing")
            self._tell(f"{name} {problem}", "the agent's log has what it printed")
        elif problem is None:
            self._tell(None, None)

    def _start(self, standard_input: IO[bytes]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._closed:
                return None
            self._process = subprocess.Popen(
                self._arguments,
                stdin=standard_input,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            return self._process

    def _wait_for(self, process: subprocess.Popen[bytes]) -> str | None:
        try:
            code = process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            process.wait()
            return f"ran for longer than {self._timeout_s:g} s and was killed"
        return None if code == 0 else f"ended with {describe_exit(code)}"


class _Tail:
    """Reads what a process prints, so that it never waits for us, and keeps the end of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None, "it was started with a pipe"
        self._descriptor = process.stdout.fileno()
        self._enough, self._say_enough = os.pipe()  # the first can be read once the second is closed
        self._kept = b""
        self._thread = Thread(target=self._read, name="trigger-output", daemon=True)
        self._thread.start()

    def take(self) -> str:
        """The end of it, once the process has ended. What something it has left behind prints later is nobody's."""
        self._thread.join(_DRAIN_S)
        os.close(self._say_enough)
        self._thread.join()
        os.close(self._enough)
        return self._kept.decode("utf-8", "replace").strip()

    def _read(self) -> None:
        readable = select.poll()  # unlike `select`, of any number of open files
        readable.register(self._descriptor, select.POLLIN)
        readable.register(self._enough, select.POLLIN)
        while self._enough not in dict(readable.poll()) and (read := os.read(self._descriptor, 65_536)):
            self._kept = (self._kept + read)[-_TAIL_BYTES:]


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
