"""Does what a `Download` decides, over a link: blocking, on the caller's thread.

Events are put in from any thread with `offer`; payloads are verified here (`chunks.unpack`) and handed on. Where the
plaintext goes is left to the caller.
"""

import secrets
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from edge_agent.clock import SystemClock
from edge_agent.errors import ArtifactError, Reason
from edge_agent.link.download import (
    GRACE_S,
    Action,
    Barrier,
    Download,
    Need,
    Reconnect,
    Subscribe,
    Trouble,
    Unsubscribe,
)
from edge_agent.link.events import Connected, Disconnected, LinkEvent, Receipt, Received
from edge_agent.link.messages import format_need
from edge_agent.link.mqtt import Link
from edge_agent.link.pace import Pace, paced_step
from edge_agent.link.topics import MAX_FILTERS, Topics
from edge_agent.release.chunks import unpack

_POLL_S = 0.2  # how often the caller is asked whether it still wants this

Take = Callable[[str, bytes], None]
Tell = Callable[[Reason, str], None]


class Collector:
    """One download over a link. `participant` is the id whose `echo` and `need` topics are used."""

    def __init__(
        self,
        link: Link,
        topics: Topics,
        participant: str,
        digests: Sequence[str],
        *,
        window: Callable[[], int],
        patient: bool = True,
        grace_s: float = GRACE_S,
        pace: Pace | None = None,
    ) -> None:
        self._link = link
        self._topics = topics
        self._participant = participant
        self._echo = topics.echo(participant)
        self._blobs = topics.blob("")
        self._window = window
        self._download = Download(digests, patient=patient, grace_s=grace_s)
        self._nonce = secrets.token_hex(4)  # several collectors hear the same echo topic
        self._events: SimpleQueue[LinkEvent | tuple[int, Receipt]] = SimpleQueue()
        self._connection: int | None = None
        self._clock = SystemClock()
        self._pace = pace or Pace(self._clock)

    def offer(self, event: LinkEvent) -> None:
        """Hand in an event of the link; from any thread, never blocks. What is not for us is ignored."""
        if isinstance(event, Received) and event.topic.startswith(self._blobs):
            if self._download.wants(event.topic.removeprefix(self._blobs)):
                self._events.put(event)
        elif not isinstance(event, Received) or event.topic == self._echo:
            self._events.put(event)

    def run(self, take: Take, *, cancelled: Callable[[], bool], trouble: Tell) -> frozenset[str]:
        """Collect until everything is taken or `cancelled()`; waits while the link is down.

        Returns what has not been taken. `take` gets each digest once, with its verified plaintext; what it raises
        ends the collecting.
        """
        connection = self._link.connection
        if connection is not None:
            self._connect(connection)
        try:
            while not self._download.finished and not cancelled():
                self._act(trouble)
                arrived = self._hear()
                if arrived:
                    self._act(trouble)  # ask for more before the work, so that the broker is never idle
                for digest, payload in arrived:
                    self._keep(digest, payload, take)
        finally:
            self._link_unsubscribe(self._download.leave())
        return self._download.remaining

    def _hear(self) -> list[tuple[str, bytes]]:
        """Wait for an event, take in all that are there, and give the payloads among them."""
        wake_s = self._download.wake_s()
        wait_s = _POLL_S if wake_s is None else min(_POLL_S, max(0.0, wake_s - self._clock.monotonic_s()))
        arrived: list[tuple[str, bytes]] = []
        try:
            event = self._events.get(timeout=wait_s)
            while True:
                self._take_in(event, arrived)
                event = self._events.get_nowait()
        except Empty:
            return arrived

    def _take_in(self, event: LinkEvent | tuple[int, Receipt], arrived: list[tuple[str, bytes]]) -> None:
        now_s = self._clock.monotonic_s()
        match event:
            case Received(topic, payload, _) if topic == self._echo:
                nonce, _, batch = payload.decode("ascii", "replace").partition("-")
                if nonce == f"{self._nonce}{self._connection}" and batch.isdecimal():
                    self._download.echoed(int(batch), now_s)
            case Received(topic, payload, _):
                digest = topic.removeprefix(self._blobs)
                if self._download.arrived(digest, now_s):
                    self._pace.came(len(payload))
                    arrived.append((digest, payload))
            case Connected(connection):
                self._connect(connection)
            case Disconnected():
                self._connection = None
                self._download.disconnected()
            case (int(batch_number), Receipt() as receipt):
                if receipt.problems:
                    self._download.granted(batch_number, receipt.problems, now_s)
            case _:
                pass

    def _keep(self, digest: str, payload: bytes, take: Take) -> None:
        if not self._download.wants(digest):
            return  # it came twice at once
        now_s = self._clock.monotonic_s()
        if not payload:
            self._download.spoilt(digest, Reason.MISSING_CHUNK, f"chunk {digest[:12]} was cleared", now_s)
            return
        try:
            plaintext = unpack(payload, digest)
        except ArtifactError as error:
            self._download.spoilt(digest, Reason.CORRUPT_CHUNK, str(error), now_s)
            return
        take(digest, plaintext)
        self._download.taken(digest)

    def _connect(self, connection: int) -> None:
        if connection != self._connection:
            self._connection = connection
            self._download.connected(self._clock.monotonic_s())

    def _act(self, trouble: Tell) -> None:
        self._download.window = max(1, self._window())
        for action in paced_step(self._download, self._pace, self._clock.monotonic_s()):
            self._do(action, trouble)

    def _do(self, action: Action, trouble: Tell) -> None:
        match action:
            case Subscribe(batch, digests):
                filters = [self._topics.blob(digest) for digest in digests]
                # QoS 0: a lost one is asked for again, and NATS has 63 QoS 1 subscriptions a client
                self._link.subscribe(filters, qos=0, then=lambda receipt: self._events.put((batch, receipt)))
            case Unsubscribe(digests):
                self._link_unsubscribe(digests)
            case Barrier(batch):
                self._link.publish(self._echo, f"{self._nonce}{self._connection}-{batch}".encode())
            case Need(digests):
                self._link.publish(self._topics.need(self._participant), format_need(digests))
            case Trouble(reason, detail):
                trouble(reason, detail)
            case Reconnect():
                self._link.reconnect()

    def _link_unsubscribe(self, digests: Sequence[str]) -> None:
        topics = [self._topics.blob(digest) for digest in digests]
        for start in range(0, len(topics), MAX_FILTERS):
            self._link.unsubscribe(topics[start : start + MAX_FILTERS])
