"""A message far larger than anything of ours: it costs a device neither its memory nor its other messages."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from edge_agent.errors import TrustError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.device import DeviceEvent, DeviceLink, ReleaseDocument
from edge_agent.link.events import Connected
from edge_agent.link.messages import MAX_PACKET_BYTES, MAX_PAYLOAD_BYTES
from edge_agent.link.mqtt import Link
from edge_agent.link.topics import Topics
from edge_agent.release.document import parse_document
from tests.sim.broker import Mosquitto

TOPICS = Topics()
WAIT_S = 60.0
HUGE_BYTES = 150_000_000  # MQTT itself has no larger packets than 268 MB


def retain(broker: Mosquitto, topic: str, *payloads: bytes) -> None:
    with Link(broker.settings, lambda _: None, client_id="anybody") as link:
        link.connect_or_raise(WAIT_S)
        for payload in payloads:
            receipt = link.publish(topic, payload, retain=True)
            assert receipt.wait(WAIT_S)
            assert receipt.ok


@contextmanager
def device(settings: BrokerSettings) -> Iterator["SimpleQueue[DeviceEvent]"]:
    events: SimpleQueue[DeviceEvent] = SimpleQueue()
    with DeviceLink(settings, TOPICS, "porch", [("m", "stable"), ("n", "stable")], events.put):
        yield events


def next_document(events: "SimpleQueue[DeviceEvent]") -> ReleaseDocument:
    while not isinstance(event := events.get(timeout=WAIT_S), ReleaseDocument):
        pass
    return event


@pytest.fixture
def only_3_1_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.link.mqtt._PROTOCOLS", ("3.1.1",))


def test_at_mqtt_5_the_broker_does_not_even_send_it(mosquitto: Mosquitto) -> None:
    retain(mosquitto, TOPICS.release("m", "stable"), bytes(MAX_PACKET_BYTES + 1))
    retain(mosquitto, TOPICS.release("n", "stable"), b"{}")
    with device(mosquitto.settings) as events:
        assert next_document(events) == ReleaseDocument("n", "stable", b"{}")
        assert events.empty()


@pytest.mark.usefixtures("only_3_1_1")
def test_at_3_1_1_only_its_beginning_is_kept_and_that_is_refused(mosquitto: Mosquitto) -> None:
    retain(mosquitto, TOPICS.release("m", "stable"), bytes(HUGE_BYTES))
    tracemalloc.start()
    try:
        with device(mosquitto.settings) as events:
            while not isinstance(events.get(timeout=WAIT_S), Connected):
                pass
            document = next_document(events)
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
            assert document.model == "m"
            assert MAX_PAYLOAD_BYTES < len(document.payload) <= MAX_PACKET_BYTES
            with pytest.raises(TrustError, match="at most"):
                parse_document(document.payload)
            retain(mosquitto, TOPICS.release("n", "stable"), b"{}")
            assert next_document(events) == ReleaseDocument("n", "stable", b"{}")  # on the same connection
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("only_3_1_1")
def test_many_of_them_are_acknowledged_so_that_others_still_come(mosquitto: Mosquitto) -> None:
    with device(mosquitto.settings) as events:
        while not isinstance(events.get(timeout=WAIT_S), Connected):
            pass
        retain(mosquitto, TOPICS.release("m", "stable"), *[bytes(300_000)] * 50)  # more than a broker has on their way
        retain(mosquitto, TOPICS.release("n", "stable"), b"{}")
        while next_document(events).model != "n":
            pass
