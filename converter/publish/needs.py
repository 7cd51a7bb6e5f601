"""Answering devices that miss chunks: what they name in `need` is sent again, if it is ours to send."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Event, Thread

from converter.broker import Broker
from edge_agent.clock import Clock, SystemClock
from edge_agent.errors import LinkError
from edge_agent.link.messages import MessageError, parse_need

_POLL_S = 0.2
_SPARED_S = 2.0  # a chunk that was sent just now is on its way to whoever else misses it


class Answers:
    """Sends what is asked for out of `chunks` (digest → payload)."""

    def __init__(self, chunks: Mapping[str, bytes], *, clock: Clock | None = None) -> None:
        self._chunks = chunks
        self._clock = clock or SystemClock()
        self._sent_s: dict[str, float] = {}
        self.sent = 0  # chunks

    def run(self, broker: Broker, stop: Event, told: Callable[[str, int], None] = lambda *_: None) -> None:
        """Answer until `stop` is set (noticed within a moment); `told(device, chunks)` after each answer.

        Raises:
            LinkError: the connection was lost, or we may not hear devices.
        """
        broker.listen([broker.topics.need("+")])
        while not stop.is_set():
            event = broker.next_event(_POLL_S)
            if event is None:
                continue
            of = broker.topics.device_of(event.topic)
            wanted = self.due(event.payload) if of is not None and of[1] == "need" else {}
            if of is not None and wanted:
                broker.publish_chunks(wanted.items(), lambda _: None)
                self.sent += len(wanted)
                told(of[0], len(wanted))

    def due(self, payload: bytes) -> dict[str, bytes]:
        """What of a `need` is to be sent now."""
        try:
            digests = parse_need(payload)
        except MessageError:
            return {}
        now_s = self._clock.monotonic_s()
        due = [
            digest
            for digest in dict.fromkeys(digests)
            if digest in self._chunks and now_s - self._sent_s.get(digest, -_SPARED_S) >= _SPARED_S
        ]
        self._sent_s |= dict.fromkeys(due, now_s)
        return {digest: self._chunks[digest] for digest in due}


@contextmanager
def answering(connect: Callable[[], Broker], chunks: Mapping[str, bytes]) -> Iterator[Answers]:
    """Answer on a connection and a thread of its own meanwhile. Where it cannot, a push goes on without."""
    answers, stop = Answers(chunks), Event()

    def run() -> None:
        with suppress(LinkError), connect() as broker:
            answers.run(broker, stop)

    thread = Thread(target=run, name="needs", daemon=True)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()
