"""Where results go, on the supervisor's side: JSON lines, and messages when something has changed.

A sink never stops inference: what it cannot write is dropped, counted, and told as its `problem`. How a message
travels is left to `link`; the callable that sends it is handed over.
"""

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from edge_agent.clock import Clock
from edge_agent.inference.ipc import Result


class Sink(Protocol):
    """Takes every result of a pipeline, in order, on one thread."""

    def take(self, result: Result) -> None: ...
    @property
    def dropped(self) -> int:
        """Results lost since the start, because they could not be written."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the last one could not be written; None when it could."""
        ...

    def close(self) -> None: ...


def result_tree(pipeline: str, result: Result, version: str | None = None) -> dict[str, object]:
    """The JSON object of one result, the same in a file and on the wire (docs/mqtt-interface.md)."""
    at = datetime.fromtimestamp(result.captured_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ((_, answer),) = list(result.answers.items())[:1]
    release = {"digest": answer.digest} if version is None else {"digest": answer.digest, "version": version}
    return {
        "at": at,
        "pipeline": pipeline,
        **release,
        "input": result.input,
        "task": answer.task,
        "results": list(answer.results),
        "latency_ms": {"capture": result.capture_ms, **answer.latency_ms},
    }


class JsonlSink:
    """One JSON object a line, appended to a file, or to stdout for `-`. A line is whole or not there."""

    def __init__(self, pipeline: str, path: Path, version_of: Callable[[str], str | None] = lambda _: None) -> None:
        self._pipeline = pipeline
        self._path = path
        self._version_of = version_of
        self._descriptor: int | None = None
        self.dropped = 0
        self.problem: str | None = None

    def take(self, result: Result) -> None:
        tree = result_tree(self._pipeline, result, self._version_of(next(iter(result.answers.values())).digest))
        try:
            self._write(json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        except OSError as error:
            self.dropped += 1
            self.problem = f"{self._path}: {error.strerror or error}"
        else:
            self.problem = None

    def close(self) -> None:
        if self._descriptor is not None and str(self._path) != "-":
            os.close(self._descriptor)
        self._descriptor = None

    def _write(self, line: bytes) -> None:
        if self._descriptor is None:
            self._descriptor = self._open()
        before = os.fstat(self._descriptor)
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            if stat.S_ISREG(before.st_mode) and len(rest) < len(line):  # a full disk takes half a line first
                os.ftruncate(self._descriptor, before.st_size)
            raise

    def _open(self) -> int:
        if str(self._path) == "-":
            sys.stdout.flush()
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)


class MqttSink:
    """Results as messages: each one, or only what differs from the last one sent; never more often than allowed.

    A change that comes too soon, or while the link is down, is not lost: the result then differs from what was sent
    last, so the next one after `min_interval_s` goes out; `flush` sends the last one when no more will come.
    `publish` says whether it took the message.
    """

    def __init__(
        self,
        pipeline: str,
        publish: Callable[[bytes], bool],
        *,
        when: Literal["changed", "always"],
        min_interval_s: float,
        clock: Clock,
        version_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._pipeline = pipeline
        self._publish = publish
        self._when = when
        self._min_interval_s = min_interval_s
        self._clock = clock
        self._version_of = version_of
        self._sent: object = None
        self._sent_s: float | None = None
        self._held: Result | None = None
        self.dropped = 0
        self.problem: str | None = None

    def take(self, result: Result) -> None:
        if self._when == "changed" and _gist(result) == self._sent:
            self._held = None
            return
        now_s = self._clock.monotonic_s()
        if self._sent_s is not None and now_s - self._sent_s < self._min_interval_s:
            self._held = result
            return
        self._send(result, now_s)

    def flush(self) -> None:
        """The source has ended: send what was held back."""
        if self._held is not None:
            self._send(self._held, self._clock.monotonic_s())

    def close(self) -> None:
        self.flush()

    def _send(self, result: Result, now_s: float) -> None:
        tree = result_tree(self._pipeline, result, self._version_of(next(iter(result.answers.values())).digest))
        self._sent_s, self._held = now_s, None
        if self._publish(json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()):
            self._sent, self.problem = _gist(result), None
        else:
            self.dropped += 1
            self.problem = "the link to the broker is down, or slower than the results"


def _gist(result: Result) -> object:
    """What has to differ for a result to count as changed: the best label; of a detection, the set of labels."""
    gist = []
    for answer in result.answers.values():
        labels = [_label(prediction) for prediction in answer.results]
        gist.append((answer.task, frozenset(labels) if answer.task == "detection" else tuple(labels[:1])))
    return gist


def _label(prediction: Mapping[str, object]) -> object:
    label = prediction.get("label")
    return prediction.get("index") if label is None else label
