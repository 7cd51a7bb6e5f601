"""Brings what is in the outbox to the broker, a few at a time, and frees what has arrived.

`telemetry.outbox` decides what "arrived" means; formatting a record for the wire happens here, at the last moment,
because only then it is known whether it is late.
"""

import json
import logging
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import Literal

from edge_agent.errors import StorageError
from edge_agent.link.events import Receipt
from edge_agent.link.messages import MessageError, decode, encode, parse_ack
from edge_agent.telemetry.outbox import Outbox, Record

_LOG = logging.getLogger(__name__)
_IN_FLIGHT = 20  # what paho may hold: more would only be lost with the process

Stream = Literal["telemetry", "event"]
Publish = Callable[[Stream, bytes, Callable[[Receipt], None]], None]


class Spool:
    """Belongs to the main loop; only receipts come from another thread, and they only queue."""

    def __init__(self, outbox: Outbox, publish: Publish) -> None:
        self._outbox = outbox
        self._publish = publish
        self._settled: SimpleQueue[tuple[Record, bool]] = SimpleQueue()
        self._in_flight = 0
        self._connected = False
        self._drained = False  # everything there was has been handed over: no need to ask the disk with every result

    def add(self, stream: Stream, tree: Mapping[str, object]) -> None:
        """Keep a message until it has arrived. A full disk costs the message, never the agent."""
        try:
            self._outbox.append(stream, json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode())
        except StorageError as error:
            _LOG.warning("a message of %s is lost: %s", stream, error)
        self._drained = False
        self.flush()

    def connected(self) -> None:
        self._connected = True
        self._drained = False
        self._outbox.rewind()
        self.flush()

    def disconnected(self) -> None:
        self._connected = False

    def acknowledged(self, payload: bytes) -> None:
        """The collector's retained high-water marks."""
        try:
            for stream, seq in parse_ack(payload).items():
                self._outbox.acknowledged(stream, seq)
        except (MessageError, ValueError, OverflowError) as error:  # the last two: no text or number that SQLite knows
            _LOG.warning("an acknowledgement that cannot be read is ignored: %s", error)
        except StorageError as error:
            _LOG.warning("%s", error)

    def flush(self) -> None:
        """Hand over as much as may be in flight. Called by the main loop whenever something has changed."""
        try:
            self._collect_receipts()
            while self._connected and not self._drained and self._in_flight < _IN_FLIGHT:
                records = self._outbox.unsent(_IN_FLIGHT - self._in_flight)
                self._drained = not records
                for record in records:
                    self._send(record)
        except StorageError as error:
            _LOG.warning("the outbox cannot be read: %s", error)

    def _send(self, record: Record) -> None:
        stream: Stream = "event" if record.stream.startswith("event") else "telemetry"
        numbers = {"stream": record.stream, "seq": record.seq, "historical": record.historical}
        try:
            payload = encode(decode(record.payload) | numbers)
        except MessageError as error:  # it will never do: kept, it would stop the agent at every start
            _LOG.error("%s %d is lost: %s", record.stream, record.seq, error)
            self._outbox.pubacked(record)
            return
        self._in_flight += 1
        self._publish(stream, payload, lambda receipt: self._settled.put((record, receipt.problem is None)))

    def _collect_receipts(self) -> None:
        while True:
            try:
                record, arrived = self._settled.get_nowait()
            except Empty:
                return
            self._in_flight -= 1
            if arrived:
                self._outbox.pubacked(record)
