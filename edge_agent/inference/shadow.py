"""A shadow, as the worker runs it: now and then a frame that has been answered goes to a child process as well.

The child loads the release, at the lowest priority, so neither its crash nor its appetite is felt by the one that
answers. The frame's thread only hands over what it has; waiting is done here, on a thread of its own. What both are
judged by is left to `update.shadow`.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

from edge_agent.errors import Reason, describe_exit
from edge_agent.inference import ipc
from edge_agent.inference.job import Served, Turn
from edge_agent.inference.shadow_child import Before, Frame

_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
_LOOK_UP_S = 0.2


class Shadow:
    """One order to compare. `offer` is for the thread that tells the answers, and never waits; `close` for any."""

    def __init__(self, order: ipc.Shadow, say: Callable[[ipc.Word], None]) -> None:
        self._order = order
        self._say = say
        self._due = 1.0
        self._waiting: Queue[tuple[Served, Frame]] = Queue(1)
        self._closed = False
        self._compared = self._agreed = 0
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge_agent.inference.shadow_child", order.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**_ENVIRONMENT, **os.environ},
            start_new_session=True,
        )
        self._thread = Thread(target=self._run, name=f"shadow-{order.stage}", daemon=True)
        self._thread.start()

    def offer(self, stage: str, turn: Turn) -> None:
        """A frame has been answered. Of several crops the first one is taken."""
        if stage != self._order.stage or turn.failure is not None or not turn.outputs or self._closed:
            return
        self._due = min(self._due + self._order.share, 1.0)
        if self._due >= 1.0 and self._waiting.empty():
            with suppress(Full):
                self._waiting.put_nowait((turn.served, Frame(turn.inputs[0].inputs, turn.outputs[0])))
                self._due = 0.0

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._closed = True
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._thread.join()

    def _run(self) -> None:
        reason, problem = None, None
        try:
            problem = self._compare()
        except (OSError, ValueError):  # it is gone, or says what is no answer: then it is made to go
            self._child.kill()
            code = self._child.wait()
            problem = f"the shadow ended with {describe_exit(code)}"
            if code != -signal.SIGKILL:  # which is what a device short of memory does
                reason = Reason.PROBE_CRASHED
        self._child.kill()
        with suppress(OSError), self._child:  # what was not sent yet cannot be
            pass
        if not self._closed:
            self._tell(over=True, reason=reason, problem=problem)
        self._closed = True

    def _compare(self) -> str | None:
        """Until all has been compared, or what it says is why that cannot be."""
        served: Served | None = None
        while not self._closed and self._compared < self._order.frames:
            try:
                now, frame = self._waiting.get(timeout=_LOOK_UP_S)
            except Empty:
                if self._child.poll() is not None:
                    raise OSError("it is gone") from None
                continue
            if served is None:
                served = now
                self._send(Before.of(now.model))
                answer = self._hear()
                if "misfit" in answer:
                    return str(answer["misfit"])
            elif now is not served:
                return "another release serves now"
            self._send(frame)
            self._agreed += bool(self._hear()["agrees"])
            self._compared += 1
            self._tell()
        return None

    def _send(self, value: Before | Frame) -> None:
        assert self._child.stdin is not None
        pickle.dump(value, self._child.stdin, pickle.HIGHEST_PROTOCOL)
        self._child.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        """What it says next; libraries print too."""
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith(b"{"):
                answer = json.loads(line)
                if isinstance(answer, dict) and answer.keys() & {"ready", "misfit", "agrees"}:
                    return answer
        raise OSError("it is gone")

    def _tell(self, *, over: bool = False, reason: Reason | None = None, problem: str | None = None) -> None:
        order = self._order
        self._say(ipc.Shadowed(order.stage, order.digest, self._compared, self._agreed, over, reason, problem))
