"""A device on a real broker: what it says of itself, and that it gets every chunk whatever happens on the way."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from random import Random
from threading import Event, Thread
from typing import Any, TypeVar

import pytest

from edge_agent.errors import Reason, StorageError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.device import Ack, DeviceEvent, DeviceLink, ReleaseDocument, SamplesAsked
from edge_agent.link.events import Connected, Disconnected, LinkEvent, Receipt, Received
from edge_agent.link.mqtt import Link
from edge_agent.link.topics import Topics
from edge_agent.release.chunks import digest_of_chunk, pack
from tests.sim.broker import Mosquitto, run_amqtt, run_mosquitto

WAIT_S = 30.0
QUICK = (0.02, 0.2)
TOPICS = Topics()
T = TypeVar("T")


def some_chunks(count: int, seed: int = 0) -> dict[str, bytes]:
    random = Random(seed)
    chunks = [random.randbytes(random.randint(1, 5_000)) for _ in range(count)]
    return {digest_of_chunk(chunk): chunk for chunk in chunks}


class Other:
    """Another client of the same broker: publisher, collector, onlooker."""

    def __init__(self, settings: BrokerSettings) -> None:
        self.heard: SimpleQueue[Received] = SimpleQueue()
        self.link = Link(settings, self._put, client_id="other", backoff_s=QUICK)

    def _put(self, event: LinkEvent) -> None:
        if isinstance(event, Received):
            self.heard.put(event)

    def retain(self, topic: str, payload: bytes) -> None:
        receipt = self.link.publish(topic, payload, retain=True)
        assert receipt.wait(WAIT_S)
        assert receipt.ok

    def publish_chunks(self, chunks: dict[str, bytes]) -> None:
        for digest, plaintext in chunks.items():
            self.retain(TOPICS.blob(digest), pack(plaintext))

    def listen(self, topic: str) -> None:
        assert self.link.subscribe([topic]).wait(WAIT_S)

    def next(self, topic: str) -> bytes:
        while True:
            message = self.heard.get(timeout=WAIT_S)
            if message.topic == topic:
                return message.payload


@contextmanager
def other_client(settings: BrokerSettings) -> Iterator[Other]:
    other = Other(settings)
    with other.link:
        other.link.connect_or_raise(WAIT_S)
        yield other


class Device:
    """A device link and the events it has given."""

    def __init__(
        self,
        settings: BrokerSettings,
        followed: tuple[tuple[str, str], ...] = (("m", "stable"),),
        *,
        hears_asks: bool = False,
    ) -> None:
        self._events: SimpleQueue[DeviceEvent] = SimpleQueue()
        self.link = DeviceLink(
            settings, TOPICS, "porch", followed, self._events.put, hears_asks=hears_asks, backoff_s=QUICK
        )
        self.troubles: SimpleQueue[Reason] = SimpleQueue()
        self.taken: dict[str, bytes] = {}

    def next(self, kind: type[T]) -> T:
        while True:
            event = self._events.get(timeout=WAIT_S)
            if isinstance(event, kind):
                return event

    def take(self, digest: str, plaintext: bytes) -> None:
        assert digest not in self.taken
        self.taken[digest] = plaintext

    def collect(self, digests: list[str], cancelled: Callable[[], bool] = lambda: False) -> None:
        self.link.collect(
            digests, self.take, cancelled=cancelled, trouble=lambda reason, _detail: self.troubles.put(reason)
        )


@contextmanager
def device_on(settings: BrokerSettings, *, hears_asks: bool = False) -> Iterator[Device]:
    device = Device(settings, hears_asks=hears_asks)
    with device.link:
        device.next(Connected)
        yield device


@contextmanager
def in_background(work: Callable[[], None]) -> Iterator[Thread]:
    thread = Thread(target=work, daemon=True)
    thread.start()
    yield thread
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_device_is_online_while_it_runs_and_offline_when_it_stops(mosquitto: Mosquitto) -> None:
    with other_client(mosquitto.settings) as other:
        other.listen(TOPICS.availability("porch"))
        with device_on(mosquitto.settings):
            assert other.next(TOPICS.availability("porch")) == b"online"
        assert other.next(TOPICS.availability("porch")) == b"offline"


def test_a_device_whose_broker_forgot_everything_is_online_again(mosquitto: Mosquitto) -> None:
    with device_on(mosquitto.settings) as device:
        mosquitto.stop(kill=True)
        device.next(Disconnected)
        mosquitto.start()
        device.next(Connected)
        with other_client(mosquitto.settings) as other:
            other.listen(TOPICS.availability("porch"))
            assert other.next(TOPICS.availability("porch")) == b"online"


def test_release_documents_and_acks_reach_the_inbox_also_after_a_reconnect(mosquitto: Mosquitto) -> None:
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.retain(TOPICS.release("m", "stable"), b"document 1")
        assert device.next(ReleaseDocument) == ReleaseDocument("m", "stable", b"document 1")
        other.retain(TOPICS.ack("porch"), b"ack")
        assert device.next(Ack) == Ack(b"ack")
        mosquitto.stop(kill=True)
        device.next(Disconnected)
        mosquitto.start()
        device.next(Connected)
        other.link.connect_or_raise(WAIT_S)
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.retain(TOPICS.release("m", "stable"), b"")  # the channel is cleared: not a document
        other.retain(TOPICS.release("m", "beta"), b"not ours")
        other.retain(TOPICS.release("m", "stable"), b"document 2")
        assert device.next(ReleaseDocument).payload == b"document 2"


def test_a_connection_is_told_before_what_is_heard_on_it(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    subscribe = Link.subscribe

    def slowly(link: Link, *arguments: Any, **options: Any) -> Receipt:
        receipt = subscribe(link, *arguments, **options)
        receipt.wait(WAIT_S)
        Event().wait(0.2)  # the retained document arrives on the other network thread
        return receipt

    monkeypatch.setattr(Link, "subscribe", slowly)
    with other_client(mosquitto.settings) as other:
        other.retain(TOPICS.release("m", "stable"), b"document")
    device = Device(mosquitto.settings)
    with device.link:
        assert isinstance(device.next(object), Connected)
        assert device.next(object) == ReleaseDocument("m", "stable", b"document")


def test_what_a_device_says_arrives_on_its_topics(mosquitto: Mosquitto) -> None:
    with other_client(mosquitto.settings) as other, device_on(mosquitto.settings) as device:
        other.listen("edge/v1/device/porch/#")
        link = device.link
        receipts = [link.publish_reported(b"r"), link.publish_event(b"e"), link.publish_telemetry(b"t")]
        assert link.publish_result("birds", b"f")
        for receipt in receipts:
            assert receipt.wait(WAIT_S)
            assert receipt.ok
        heard = {message.topic: message.payload for message in (other.heard.get(timeout=WAIT_S) for _ in range(5))}
    names = {topic.removeprefix("edge/v1/device/porch/"): payload for topic, payload in heard.items()}
    assert names == {
        "availability": b"online", "reported": b"r", "event": b"e", "telemetry": b"t", "result/birds": b"f"
    }  # fmt: skip


def test_asks_for_samples_are_heard_by_who_is_to_hear_them_and_retained_ones_by_nobody(mosquitto: Mosquitto) -> None:
    with other_client(mosquitto.settings) as other:
        other.retain(TOPICS.ask("porch"), b"of long ago")
        other.retain(TOPICS.release("m", "stable"), b"x")  # whoever has it, has subscribed to all
        either: Any = ReleaseDocument | SamplesAsked
        with device_on(mosquitto.settings, hears_asks=True) as device:
            assert isinstance(device.next(either), ReleaseDocument)
            other.link.publish(TOPICS.ask("porch"), b"now").wait(WAIT_S)
            assert device.next(SamplesAsked) == SamplesAsked(b"now")
            other.listen(TOPICS.sample("porch"))
            assert device.link.publish_sample(b"here").wait(WAIT_S)
            assert other.next(TOPICS.sample("porch")) == b"here"
        with device_on(mosquitto.settings) as device:
            device.next(ReleaseDocument)
            other.link.publish(TOPICS.ask("porch"), b"now").wait(WAIT_S)
            other.retain(TOPICS.release("m", "stable"), b"x")  # behind the ask: had it been heard, then before this
            assert isinstance(device.next(either), ReleaseDocument)


def test_offline_results_are_dropped_and_receipts_say_so(mosquitto: Mosquitto) -> None:
    with device_on(mosquitto.settings) as device:
        mosquitto.stop()
        device.next(Disconnected)
        assert not device.link.publish_result("birds", b"x")
        assert device.link.publish_telemetry(b"x").problem is not None


def test_results_are_dropped_when_the_broker_no_longer_reads(mosquitto: Mosquitto) -> None:
    with device_on(mosquitto.settings) as device:
        assert mosquitto.process is not None
        mosquitto.process.send_signal(19)  # SIGSTOP
        large = bytes(50_000)
        handed_over = sum(device.link.publish_result("birds", large) for _ in range(2_000))
        assert handed_over < 2_000
        mosquitto.process.send_signal(18)  # SIGCONT


def test_every_chunk_is_collected_once_and_nothing_stays_subscribed(mosquitto: Mosquitto) -> None:
    chunks = some_chunks(60)
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.publish_chunks(chunks)
        device.collect(list(chunks))
        assert device.taken == chunks
        assert device.troubles.empty()
        before = len(device.taken)
        other.publish_chunks(dict(list(chunks.items())[:3]))
        receipt = device.link.publish_event(b"")  # the broker has worked off everything before this
        assert receipt.wait(WAIT_S)
        assert len(device.taken) == before


def test_missing_chunks_are_asked_for_and_the_rest_comes_meanwhile(mosquitto: Mosquitto) -> None:
    chunks = some_chunks(30)
    there, late = dict(list(chunks.items())[3:]), dict(list(chunks.items())[:3])
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.publish_chunks(there)
        other.listen(TOPICS.need("porch"))
        with in_background(lambda: device.collect(list(chunks))):
            need = json.loads(other.next(TOPICS.need("porch")))
            assert set(need["digests"]) <= set(late)
            assert device.troubles.get(timeout=WAIT_S) is Reason.MISSING_CHUNK
            other.publish_chunks(late)
        assert device.taken == chunks


def test_a_corrupt_chunk_is_told_and_healed_by_publishing_it_again(mosquitto: Mosquitto) -> None:
    chunks = some_chunks(3)
    spoilt = next(iter(chunks))
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.publish_chunks(chunks)
        other.retain(TOPICS.blob(spoilt), b"not what the name says")
        with in_background(lambda: device.collect(list(chunks))):
            assert device.troubles.get(timeout=WAIT_S) is Reason.CORRUPT_CHUNK
            assert spoilt not in device.taken
            other.publish_chunks({spoilt: chunks[spoilt]})
        assert device.taken == chunks


def test_a_chunk_that_is_cleared_while_it_is_waited_for_is_missing(mosquitto: Mosquitto) -> None:
    chunks = some_chunks(1)
    digest = next(iter(chunks))
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.listen(TOPICS.need("porch"))
        with in_background(lambda: device.collect([digest])):
            other.next(TOPICS.need("porch"))
            other.retain(TOPICS.blob(digest), b"")
            other.publish_chunks(chunks)
        assert device.taken == chunks


def test_a_download_goes_on_where_a_broker_restart_cut_it_off(tmp_path: Path) -> None:
    chunks = some_chunks(40)
    with run_mosquitto(tmp_path, "persistence true", f"persistence_location {tmp_path}/") as broker:
        with other_client(broker.settings) as other:
            other.publish_chunks(chunks)
        with device_on(broker.settings) as device:
            keep = device.take

            def take_and_cut(digest: str, plaintext: bytes) -> None:
                keep(digest, plaintext)
                if len(device.taken) == 10:
                    broker.stop()
                    broker.start()

            device.link.collect(list(chunks), take_and_cut, cancelled=lambda: False, trouble=lambda *_: None)
            assert device.taken == chunks  # each exactly once: `take` asserts it


def test_a_download_ends_soon_after_it_is_cancelled_also_while_the_broker_is_away(mosquitto: Mosquitto) -> None:
    stop = Event()
    with device_on(mosquitto.settings) as device:
        mosquitto.stop()
        device.next(Disconnected)
        with in_background(lambda: device.collect(["0" * 64], stop.is_set)):
            stop.set()
        assert device.taken == {}


def test_what_take_raises_ends_the_download_and_the_next_one_works(mosquitto: Mosquitto) -> None:
    chunks = some_chunks(20)

    def full(_digest: str, _plaintext: bytes) -> None:
        raise StorageError("the disk is full", reason=Reason.DISK_FULL)

    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.publish_chunks(chunks)
        with pytest.raises(StorageError):
            device.link.collect(list(chunks), full, cancelled=lambda: False, trouble=lambda *_: None)
        device.collect(list(chunks))
        assert device.taken == chunks


def test_two_downloads_at_once_get_what_they_share_and_what_they_do_not(mosquitto: Mosquitto) -> None:
    shared, one, other_one = some_chunks(20, 1), some_chunks(20, 2), some_chunks(20, 3)
    with device_on(mosquitto.settings) as device, other_client(mosquitto.settings) as other:
        other.publish_chunks({**shared, **one, **other_one})
        results: list[dict[str, bytes]] = [{}, {}]

        def collect(number: int, wanted: dict[str, bytes]) -> None:
            device.link.collect(
                list(wanted), results[number].__setitem__, cancelled=lambda: False, trouble=lambda *_: None
            )

        with (
            in_background(lambda: collect(0, {**shared, **one})),
            in_background(lambda: collect(1, {**other_one, **shared})),
        ):
            pass
        assert results == [{**shared, **one}, {**other_one, **shared}]


def test_a_3_1_1_broker_delivers_everything_too(tmp_path: Path) -> None:
    chunks = some_chunks(30)
    with run_amqtt(tmp_path) as port:
        settings = BrokerSettings("127.0.0.1", port)
        with device_on(settings) as device, other_client(settings) as other:
            other.publish_chunks(chunks)
            device.collect(list(chunks))
            assert device.taken == chunks
