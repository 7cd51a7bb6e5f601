"""Sends samples to whoever asks for them, where the device's own configuration allows it: one at a time, and slowly.

What is kept is left to `inference.samples`; the messages, to `link.samples`. No numpy here.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from edge_agent.config.sinks import SamplesSink
from edge_agent.disk import Disk, RealDisk
from edge_agent.errors import StorageError
from edge_agent.inference.samples.folder import lines_about, sample_names
from edge_agent.inference.sinks.aside import Aside
from edge_agent.link.events import Receipt
from edge_agent.link.messages import MessageError
from edge_agent.link.samples import (
    MAX_SAMPLE_BYTES,
    MOST_AT_ONCE,
    Answered,
    Ask,
    LeftOut,
    format_answered,
    parse_ask,
    parts_of,
)

_LOG = logging.getLogger(__name__)
_WAITING = 8  # askers; the oldest has to ask again
_CLOSE_S = 2.0
_ACK_S = 30.0

Publish = Callable[[bytes], Receipt]


class _LinkLostError(Exception):
    """Whoever asked asks again."""


@dataclass(slots=True)
class _Answer:
    """One that is being given."""

    ask: Ask
    budget_bytes: int = MAX_SAMPLE_BYTES  # of one answer: another asker may be waiting
    samples: int = MOST_AT_ONCE

    @property
    def is_full(self) -> bool:
        return self.samples <= 0 or self.budget_bytes <= 0


class SampleSender(Aside[Ask]):
    """Open it to have it sending. `sinks`: those that publish, by pipeline."""

    def __init__(
        self,
        sinks: Mapping[str, SamplesSink],
        publish: Publish,
        *,
        open_folder: Callable[[SamplesSink], Disk] | None = None,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        super().__init__("sample-sender", _WAITING, _CLOSE_S)
        self._sinks = {name: sink for name, sink in sinks.items() if sink.publish}
        self._publish = publish
        self._open_folder = open_folder or (lambda sink: Disk(RealDisk(sink.folder)))  # made by whoever keeps them
        self._pause = pause or self._backlog.pause

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def asked(self, payload: bytes) -> None:
        """From any thread. What cannot be read is nobody's ask."""
        try:
            ask = parse_ask(payload)
        except MessageError as error:
            _LOG.warning("an ask for samples cannot be read: %s", error)
            return
        self._hand_over(ask)

    def _work(self) -> None:
        while self._backlog.wait_for_some():
            ask = self._backlog.take()
            if ask is None:
                continue
            try:
                self._answer(ask)
            except _LinkLostError:
                _LOG.info("samples for %s: the link was lost or is being closed", ask.id)
            except StorageError as error:
                _LOG.warning("samples for %s cannot be read: %s", ask.id, error)

    def _answer(self, ask: Ask) -> None:
        answer = _Answer(ask)
        sent: dict[str, tuple[str, ...]] = {}
        left: dict[str, int] = {}
        left_out: list[LeftOut] = []
        for pipeline, sink in self._sinks.items():
            disk = self._open_folder(sink)
            wanted = _wanted(disk, ask, pipeline)
            lines = lines_about(disk, wanted[: answer.samples])
            done: list[str] = []
            passed = 0
            for name in wanted:
                if answer.is_full:
                    break
                passed += 1
                problem = self._send(disk, pipeline, name, lines.get(name, b""), answer)
                if problem is None:
                    done.append(name)
                else:
                    left_out.append(LeftOut(pipeline, name, problem))
            sent[pipeline], left[pipeline] = tuple(done), len(wanted) - passed
        self._put(format_answered(Answered(ask.id, sent, left, tuple(left_out))))
        _LOG.info("samples for %s: %s", ask.id, {pipeline: len(names) for pipeline, names in sent.items()})

    def _send(self, disk: Disk, pipeline: str, name: str, line: bytes, answer: _Answer) -> str | None:
        """Why it was not sent, if it was not."""
        answer.samples -= 1
        size = disk.size(name)
        if size is None:
            return "it has made room for newer ones"
        if size > MAX_SAMPLE_BYTES:
            return f"{size} bytes; at most {MAX_SAMPLE_BYTES} are sent of a sample"
        try:
            payloads = parts_of(pipeline, name, line, disk.read(name))
            for payload in payloads:
                self._put(payload)
                if self._pause(len(payload) / self._sinks[pipeline].max_bytes_per_s):
                    raise _LinkLostError
        except (StorageError, MessageError) as error:
            return str(error)
        answer.budget_bytes -= size
        return None

    def _put(self, payload: bytes) -> None:
        receipt = self._publish(payload)
        if not receipt.wait(_ACK_S) or not receipt.ok:
            raise _LinkLostError


def _wanted(disk: Disk, ask: Ask, pipeline: str) -> list[str]:
    after = ask.after.get(pipeline, "")
    return [name for name in sample_names(disk) if name > after][-ask.most :]
