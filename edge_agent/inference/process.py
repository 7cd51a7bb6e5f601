"""A worker process as the supervisor sees it: started, spoken to, listened to, stopped.

One `WorkerProcess` is one life of one process. Which release it serves, and starting it again, is left to `server`;
what it does inside, to `worker`. No numpy here.
"""

import logging
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread

from edge_agent.config.pipeline import PipelineConfig
from edge_agent.config.sinks import PreviewSink
from edge_agent.inference.ipc import Feed, FeedTrouble, Order, StageStart, Start, Stop, Word, format_line, parse_word
from edge_agent.schema import SchemaError

_log = logging.getLogger(__name__)
_MAX_LINE_BYTES = 4_000_000
_EXIT_S = 5.0  # between closing the socket and being gone
# Idle BLAS and OpenMP threads are memory and context switches: the interpreter has threads of its own.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "MALLOC_ARENA_MAX": "1",  # glibc gives each of a dozen threads a heap of its own otherwise
}


@dataclass(frozen=True, slots=True)
class ReleaseToServe:
    """An unpacked, verified release."""

    digest: str
    path: str


class WorkerProcess:
    """`python -m edge_agent.inference.worker`, exec'd (a fork of a threaded supervisor can hang).

    `on_word` and `on_exit` are called on the thread that reads; `on_exit` once, after the last word, with the exit
    code (negative: the signal that ended it). The child sees the supervisor's death as the end of the socket.
    """

    def __init__(self, start: Start, on_word: Callable[[Word], None], on_exit: Callable[[int], None]) -> None:
        self._on_word = on_word
        self._on_exit = on_exit
        self._sending = Lock()
        self._lost = 0  # messages since the last one that was handed over
        self._socket, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "edge_agent.inference.worker", str(theirs.fileno())]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,  # stdout is the sinks'
                pass_fds=[theirs.fileno()],
                env={**_ENVIRONMENT, **os.environ},
                process_group=0,  # Ctrl-C is for the supervisor, which then stops its workers in order
            )
        self._reader = Thread(target=self._read, name=f"worker-{start.pipeline}", daemon=True)
        self._reader.start()
        self.send(start)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pss_bytes(self) -> int | None:
        """Its share of the machine's memory; None once it is gone."""
        return read_pss_bytes(self.pid)

    def send(self, order: Order) -> None:
        """Hand over an order. A worker that is gone says so through `on_exit`, so it is not an error here."""
        with self._sending:
            try:
                self._socket.sendall(format_line(order))
            except OSError:
                return

    def feed(self, order: Feed | FeedTrouble) -> None:
        """Hand a message over, unless the worker does not keep up: then it is lost, which the next one tells."""
        with self._sending:
            try:
                if not select.select([], [self._socket], [], 0)[1]:
                    self._lost += isinstance(order, Feed)
                    return
                if isinstance(order, Feed) and self._lost:
                    order, self._lost = replace(order, lost=self._lost), 0
                self._socket.sendall(format_line(order))
            except (OSError, ValueError):  # it is gone, and says so through `on_exit`
                return

    def stop(self, timeout_s: float = 5.0) -> int:
        """Ask it to end, then make it; returns the exit code once `on_exit` has been called."""
        self.send(Stop())
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._reader.join()
        return self._process.wait()

    def kill(self) -> None:
        self._process.kill()

    def _read(self) -> None:
        try:
            with self._socket.makefile("rb") as lines:
                while line := lines.readline(_MAX_LINE_BYTES):
                    self._on_word(parse_word(line))
        except ConnectionResetError:
            pass  # it ended before it had read all that it was told
        except (OSError, ValueError, SchemaError) as error:  # the memory of a crashing model is anybody's
            _log.error("worker %d said what cannot be read, so it is ended: %s", self.pid, error)
            self.kill()
        finally:
            self._on_exit(self._await_exit())

    def _await_exit(self) -> int:
        try:
            code = self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:  # it has closed the socket and still will not go
            self.kill()
            code = self._process.wait()
        with self._sending:
            self._socket.close()
        return code


def start_order(
    pipeline: str, config: PipelineConfig, wanted: Mapping[str, ReleaseToServe | None], cores: int | None = None
) -> Start:
    """The first order of a pipeline's worker."""
    stages = {}
    for name, release in wanted.items():
        stage = config.stage[name]
        stages[name] = StageStart(
            path=release.path if release else None,
            digest=release.digest if release else None,
            threads=config.threads,
            cores=cores,
            delegate=stage.delegate,
            crops_of=stage.crops_of,
            crops=stage.crops,
        )
    return Start(
        pipeline,
        config.source,
        stages,
        preview=next((sink for sink in config.sinks if isinstance(sink, PreviewSink)), None),
        keeps_pictures=any(trigger.snapshot for trigger in config.triggers),
        samples=config.samples,
    )


def read_pss_bytes(pid: int) -> int | None:
    """Proportional set size: memory of the process, shared pages counted by share. None where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(sizes[0]) * 1024 if sizes else None
