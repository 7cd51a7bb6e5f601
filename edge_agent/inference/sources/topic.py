"""An MQTT topic as a source of rows: JSON messages, as Zigbee2MQTT and many others send them.

It has no connection. `link.subscription` hears the topic in the supervisor, and the messages come here as orders by way
of a `mailbox`. A row's columns are left to `row_options`.
"""

from types import TracebackType
from typing import Self

from edge_agent.clock import Clock
from edge_agent.config.row_sources import TopicSource
from edge_agent.errors import FrameError, SourceError
from edge_agent.inference.frame import Nothing, Sample, Unusable, Wanted
from edge_agent.inference.sources.json_rows import parse_json_row
from edge_agent.inference.sources.mailbox import Mailbox
from edge_agent.inference.sources.row_options import RawRow, RowReader

_LOOK_S = 0.5  # the longest wait for a message
_MAX_TOPICS = 256  # of a wildcard, for each of which the values before are kept


class TopicRows:
    """A row a message. With a wildcard, rows of different topics never share a window."""

    def __init__(self, config: TopicSource, clock: Clock, mailbox: Mailbox) -> None:
        self._config = config
        self._clock = clock
        self._mailbox = mailbox
        self._waited_s = 0.0  # for a message
        self._readers: dict[str, RowReader] = {}
        self._topic: str | None = None  # of the row before
        self._stale = False  # that one was
        self._number = 0

    def __enter__(self) -> Self:
        self._topic, self._number, self._waited_s = None, 0, 0.0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.clear()

    def take(self, wanted: Wanted) -> Sample | Unusable | Nothing:
        wait_s = _LOOK_S if self._config.timeout_s is None else min(_LOOK_S, self._config.timeout_s)
        message = self._mailbox.take(wait_s)
        if message is None:
            self._waited_s += wait_s
            self._check_silence()
            return Nothing()
        self._waited_s = 0.0
        if not message.payload:  # what is retained has been cleared
            return Nothing()
        self._number += 1
        name = f"{message.topic}:{self._number}"
        try:
            cells = parse_json_row(message.payload.encode(errors="replace"))
        except FrameError as error:
            return Unusable(name, f"{name}: {error}")
        after_gap = message.after_gap or message.stale or self._stale or message.topic != self._topic
        row = RawRow(name, message.captured_s, cells, message.time_s, after_gap)
        item = self._reader(message.topic).read(row, wanted)
        if isinstance(item, Sample):
            self._topic, self._stale = message.topic, message.stale
        return item

    def _check_silence(self) -> None:
        if self._config.timeout_s is not None and self._waited_s >= self._config.timeout_s:
            topic = self._config.topic
            raise SourceError(
                f"there was no message of the topic {topic} for {self._config.timeout_s:g} s",
                hint=f"`mosquitto_sub -v -t '{topic}'` shows what comes; is the device still there, and may this user "
                "read the topic? Many a broker does not say",
            )

    def _reader(self, topic: str) -> RowReader:
        reader = self._readers.pop(topic, None) or RowReader(self._config, self._config.fields)
        self._readers[topic] = reader  # the one that was used longest ago is the first to go
        if len(self._readers) > _MAX_TOPICS:
            self._readers.pop(next(iter(self._readers)))
        return reader
