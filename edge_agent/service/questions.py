"""What a person asks the running agent, from the control socket's thread to the loop and back.

What the answer is, is left to `agent`.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from threading import Lock
from typing import Any

from edge_agent.errors import EdgeError
from edge_agent.service.inbox import Asked

_PATIENCE_S = 50.0  # a roll back has to stop one model and start another


class Questions:
    """Those that wait for an answer. `ask` is for any thread, `end` for the loop's."""

    def __init__(self, put: Callable[[Asked], object], *, patience_s: float = _PATIENCE_S) -> None:
        self._put = put
        self._patience_s = patience_s
        self._lock = Lock()
        self._waiting: set[Future[Mapping[str, Any]]] = set()
        self._ended = False

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the loop answer, and wait for it.

        Raises:
            EdgeError: it refuses, is busy for too long, or has ended.
        """
        answer: Future[Mapping[str, Any]] = Future()
        with self._lock:
            if self._ended:
                raise _stopping()
            self._waiting.add(answer)
        self._put(Asked(request, answer))
        try:
            return answer.result(self._patience_s)
        except TimeoutError as error:
            raise EdgeError(
                f"the agent has not answered within {self._patience_s:g} s",
                hint="it may still do it: look at 'edge-agent status' in a while",
            ) from error
        finally:
            with self._lock:
                self._waiting.discard(answer)

    def end(self) -> None:
        """There is no loop any more: nobody is left waiting for it."""
        with self._lock:
            self._ended = True
            for answer in self._waiting:
                if not answer.done():
                    answer.set_exception(_stopping())


def _stopping() -> EdgeError:
    return EdgeError("the agent is stopping", hint="ask again when it runs, or while it is stopped")
