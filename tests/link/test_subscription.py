"""A topic that is a source, heard from a real mosquitto and handed on as orders for a worker."""

import json
import subprocess
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self, TypeVar

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.agent import MqttConfig
from edge_agent.config.row_sources import TopicSource
from edge_agent.errors import LinkError, SourceError
from edge_agent.inference.frame import Sample
from edge_agent.inference.ipc import Feed, FeedTrouble, format_line, parse_order
from edge_agent.inference.sources.mailbox import Mailbox
from edge_agent.inference.sources.source import new_source
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.mqtt import Link
from edge_agent.link.subscription import MAX_PAYLOAD_BYTES, Subscription, subscription_settings
from tests.inference.sources.rows import take_all
from tests.sim.broker import Mosquitto, free_port, password_file, run_mosquitto

WAIT_S = 30.0
QUICK = (0.02, 0.2)
T = TypeVar("T", Feed, FeedTrouble)


class Orders:
    """What would go to the worker."""

    def __init__(self) -> None:
        self._orders: SimpleQueue[Feed | FeedTrouble] = SimpleQueue()
        self.forward = self._orders.put

    def next(self, kind: type[T]) -> T:
        """The next order, which must be such a one."""
        order = self._orders.get(timeout=WAIT_S)
        assert isinstance(order, kind), order
        return order

    def next_feed_of(self, topic: str) -> Feed:
        while True:
            order = self._orders.get(timeout=WAIT_S)
            if isinstance(order, Feed) and order.topic == topic:
                return order

    @property
    def empty(self) -> bool:
        try:
            self._orders.get_nowait()
        except Empty:
            return True
        return False


class Sensor:
    """Somebody who publishes, by a connection of their own; a message is on its way once this returns."""

    def __init__(self, broker: Mosquitto) -> None:
        self._link = Link(broker.settings, lambda _: None, client_id="sensor", backoff_s=QUICK)

    def __enter__(self) -> Self:
        self._link.__enter__()
        self._link.connect_or_raise(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.__exit__(None, None, None)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        receipt = self._link.publish(topic, payload, retain=retain)
        assert receipt.wait(WAIT_S)
        assert receipt.ok


def subscribe(broker: Mosquitto, topic: str, orders: Orders) -> Subscription:
    return Subscription(broker.settings, topic, orders.forward, client_id="edge-porch-office", backoff_s=QUICK)


def say_until_heard(sensor: Sensor, orders: Orders, topic: str) -> None:
    """A subscription has no event of its own when it stands: a retained message is heard in any case."""
    sensor.say(topic, b"ready", retain=True)
    assert orders.next_feed_of(topic).payload == "ready"
    sensor.say(topic, b"", retain=True)
    assert orders.next_feed_of(topic).payload == ""


def test_messages_of_the_topic_are_handed_on_and_others_are_not(mosquitto: Mosquitto) -> None:
    orders = Orders()
    with Sensor(mosquitto) as sensor, subscribe(mosquitto, "zigbee2mqtt/+/climate", orders):
        say_until_heard(sensor, orders, "zigbee2mqtt/probe/climate")
        sensor.say("zigbee2mqtt/office", b"[0]")
        sensor.say("zigbee2mqtt/office/climate", b'{"temperature": 21.5}')
        sensor.say("zigbee2mqtt/hall/climate", b"\xff\xfe")
        assert orders.next(Feed) == Feed("zigbee2mqtt/office/climate", '{"temperature": 21.5}')
        assert orders.next(Feed) == Feed("zigbee2mqtt/hall/climate", "\ufffd\ufffd")
    assert orders.empty


def test_what_the_broker_has_kept_is_marked(mosquitto: Mosquitto) -> None:
    orders = Orders()
    with Sensor(mosquitto) as sensor:
        sensor.say("room", b"[1]", retain=True)
        with subscribe(mosquitto, "room", orders):
            assert orders.next(Feed) == Feed("room", "[1]", retained=True)
            sensor.say("room", b"[2]", retain=True)
            assert orders.next(Feed) == Feed("room", "[2]", retained=False)


def test_a_huge_message_is_cut_so_that_the_worker_can_tell(mosquitto: Mosquitto) -> None:
    orders = Orders()
    with Sensor(mosquitto) as sensor, subscribe(mosquitto, "room", orders):
        sensor.say("room", b"x" * 3_000_000, retain=True)
        assert len(orders.next(Feed).payload) == MAX_PAYLOAD_BYTES + 1
        for wild in (b"\0" * 3_000_000, b"\xff" * 3_000_000):
            sensor.say("room", wild, retain=True)
            assert len(format_line(orders.next(Feed))) < 10_000


def test_a_broker_that_goes_and_comes_back_is_told_and_heard_again(tmp_path: Path) -> None:
    orders = Orders()
    with run_mosquitto(tmp_path) as broker, subscribe(broker, "room", orders):
        with Sensor(broker) as sensor:
            say_until_heard(sensor, orders, "room")
        broker.stop(kill=True)
        assert "was lost" in orders.next(FeedTrouble).detail
        assert "cannot reach the broker" in orders.next(FeedTrouble).detail
        broker.start()
        with Sensor(broker) as sensor:
            sensor.say("room", b"[2]", retain=True)
            assert orders.next_feed_of("room").payload == "[2]"


def test_a_broker_that_is_not_there_is_told_with_a_hint() -> None:
    orders = Orders()
    settings = BrokerSettings("127.0.0.1", free_port())
    with Subscription(settings, "room", orders.forward, client_id="a", backoff_s=QUICK):
        trouble = orders.next(FeedTrouble)
    assert "cannot reach the broker" in trouble.detail
    assert trouble.hint


DYNAMIC_SECURITY = "mosquitto_dynamic_security.so"  # the only part of mosquitto that refuses a SUBSCRIBE
NO_SUBSCRIBE = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}


def test_a_broker_that_does_not_let_us_hear_the_topic_says_so(tmp_path: Path) -> None:
    plugin = next(Path("/usr/lib").glob(f"*/{DYNAMIC_SECURITY}"), None)
    if plugin is None:
        pytest.skip(f"mosquitto came without {DYNAMIC_SECURITY}")
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"defaultACLAccess": NO_SUBSCRIBE}))
    orders = Orders()
    with (
        run_mosquitto(tmp_path, f"plugin {plugin}", f"plugin_opt_config_file {rules}") as broker,
        subscribe(broker, "room", orders),
    ):
        trouble = orders.next(FeedTrouble)
    assert "does not let us hear room: not authorized" in trouble.detail
    assert "access list" in str(trouble.hint)


def test_a_password_goes_to_a_broker_of_its_own(tmp_path: Path) -> None:
    users = password_file(tmp_path, {"device": "right"})
    password = tmp_path / "password"
    password.write_text("right\n")
    orders = Orders()
    with run_mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}") as broker:
        source = TopicSource("topic", "room", url=broker.url, username="device", password_file=password)
        settings = subscription_settings(source, None)
        with (
            Link(settings, lambda _: None, client_id="sensor") as sensor,
            Subscription(settings, "room", orders.forward, client_id="a", backoff_s=QUICK),
        ):
            sensor.connect_or_raise(WAIT_S)
            sensor.publish("room", b"[1]", retain=True)
            assert orders.next(Feed).payload == "[1]"


def test_closing_it_is_no_trouble(mosquitto: Mosquitto) -> None:
    orders = Orders()
    with Sensor(mosquitto) as sensor, subscribe(mosquitto, "room", orders):
        say_until_heard(sensor, orders, "room")
    assert orders.empty


def test_the_settings_are_those_of_its_own_broker_or_of_mqtt(tmp_path: Path) -> None:
    mqtt = MqttConfig(url="mqtts://broker.local", username="edge", ca_file=tmp_path / "ca.pem")
    same = subscription_settings(TopicSource("topic", "room"), mqtt)
    assert (same.host, same.tls, same.username, same.ca_file) == ("broker.local", True, "edge", tmp_path / "ca.pem")
    own = subscription_settings(TopicSource("topic", "room", url="mqtt://other:1884"), mqtt)
    assert (own.host, own.port, own.tls, own.username, own.ca_file) == ("other", 1884, False, None, None)
    with pytest.raises(LinkError, match=r"room needs \[mqtt\]"):
        subscription_settings(TopicSource("topic", "room"), None)


def test_a_sensor_s_message_becomes_a_row_all_the_way(mosquitto: Mosquitto) -> None:
    """As `mosquitto_pub` says it, over the broker and the words of the socket, to the source."""
    clock = SystemClock()
    mailbox = Mailbox(clock)
    config = TopicSource("topic", "zigbee2mqtt/#", fields={"temperature": "climate.temp"}, timeout_s=WAIT_S)

    def forward(order: Feed | FeedTrouble) -> None:
        received = parse_order(format_line(order))
        assert isinstance(received, Feed | FeedTrouble)
        mailbox.feed(received)

    settings = subscription_settings(config, MqttConfig(url=mosquitto.url))
    command = ["mosquitto_pub", "-p", str(mosquitto.port), "-r", "-t", "zigbee2mqtt/office"]
    with (
        Subscription(settings, config.topic, forward, client_id="a", backoff_s=QUICK),
        new_source(config, clock, mailbox) as source,
    ):
        subprocess.run([*command, "-m", '{"climate": {"temp": 21.5}}'], check=True, timeout=WAIT_S)
        (row,) = take_all(source, ("temperature",), at_most=1)
        assert isinstance(row, Sample)
        assert (row.values, row.channels) == ((21.5,), ("temperature",))
        mosquitto.stop()
        with pytest.raises(SourceError, match=r"was lost|cannot reach"):
            take_all(source, at_most=1)
