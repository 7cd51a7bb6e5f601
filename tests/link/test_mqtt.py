"""The link against real brokers: what it says when it cannot connect, and that it comes back."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import pytest

from edge_agent.config.agent import MqttConfig
from edge_agent.errors import LinkError
from edge_agent.link.broker import BrokerSettings, read_settings, unreachable
from edge_agent.link.events import Connected, Disconnected, Failed, LinkEvent, Received, Will
from edge_agent.link.mqtt import Link
from tests.sim.broker import Mosquitto, free_port, password_file, run_amqtt, run_mosquitto
from tests.sim.certificates import Authority, make_authority

WAIT_S = 30.0
QUICK = (0.02, 0.2)
T = TypeVar("T")


class Inbox:
    """Events in the order they came."""

    def __init__(self) -> None:
        self._events: SimpleQueue[LinkEvent] = SimpleQueue()
        self.put: Callable[[LinkEvent], None] = self._events.put

    def next(self, kind: type[T]) -> T:
        """The next event of this kind; those before it are dropped."""
        while True:
            event = self._events.get(timeout=WAIT_S)
            if isinstance(event, kind):
                return event

    @property
    def empty(self) -> bool:
        return self._events.empty()


def refusal(settings: BrokerSettings) -> LinkError:
    """The error of a command that tries to connect."""
    inbox = Inbox()
    with Link(settings, inbox.put, client_id="refused") as link:
        with pytest.raises(LinkError) as caught:
            link.connect_or_raise(WAIT_S)
        assert not link.connected
    return caught.value


def test_a_message_published_is_received_and_both_are_acknowledged(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    with Link(mosquitto.settings, inbox.put, client_id="a") as link:
        link.connect_or_raise(WAIT_S)
        assert inbox.next(Connected).protocol == "5"
        asked = link.subscribe(["x/y", "x/z"])
        assert asked.wait(WAIT_S)
        assert (asked.ok, asked.problems) == (True, (None, None))
        sent = link.publish("x/y", b"hello")
        assert sent.wait(WAIT_S)
        assert sent.ok
        assert inbox.next(Received) == Received("x/y", b"hello", retained=False)
    assert inbox.next(Disconnected) == Disconnected(1, "we closed it")


def test_an_unreachable_broker_is_named_with_a_hint() -> None:
    error = refusal(BrokerSettings("127.0.0.1", free_port()))
    assert "cannot reach the broker mqtt://127.0.0.1:" in str(error)
    assert "connection refused" in str(error)
    assert "is the broker running" in str(error.hint)


def test_every_way_of_not_reaching_a_broker_has_its_own_words() -> None:
    settings = BrokerSettings("nowhere", 1883)
    errors = [
        socket.gaierror(-2, "x"), TimeoutError(), ConnectionResetError(104, "reset by peer"), OSError(101, "no network")
    ]  # fmt: skip
    words = [str(unreachable(settings, error)) for error in errors]
    assert len(set(words)) == len(errors)
    assert all(unreachable(settings, error).hint for error in errors)


def test_a_wrong_password_is_refused_and_is_not_connected(tmp_path: Path) -> None:
    users = password_file(tmp_path, {"device": "right"})
    with run_mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}") as broker:
        wrong = refusal(replace(broker.settings, username="device", password="wrong"))
        assert "refused user 'device': " in str(wrong)
        assert "password" in str(wrong.hint)
        nobody = refusal(broker.settings)
        assert "refused an anonymous user" in str(nobody)
        assert "--password-file" in str(nobody.hint)
        with Link(replace(broker.settings, username="device", password="right"), Inbox().put, client_id="a") as link:
            link.connect_or_raise(WAIT_S)


def test_the_agent_hears_of_each_refusal_and_goes_on_trying(tmp_path: Path) -> None:
    users = password_file(tmp_path, {"device": "right"})
    inbox = Inbox()
    with (
        run_mosquitto(tmp_path, "allow_anonymous false", f"password_file {users}") as broker,
        Link(broker.settings, inbox.put, client_id="a", backoff_s=QUICK) as link,
    ):
        first, second = inbox.next(Failed), inbox.next(Failed)
        assert "refused" in str(first.error)
        assert "refused" in str(second.error)
        assert 0 <= first.retry_in_s <= QUICK[1]
        assert not link.connected
        assert not link.publish("x", b"").ok


def test_a_password_file_loses_one_line_end_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" pass word \n\n")
    config = MqttConfig(url="mqtts://broker.local", username="u", password_file=file)
    settings = read_settings(config)
    assert settings.password == " pass word \n"
    assert (settings.host, settings.port, settings.tls) == ("broker.local", 8883, True)
    assert "pass word" not in repr(settings)
    file.unlink()
    with pytest.raises(LinkError, match=r"password file .*secret cannot be read"):
        read_settings(config)


@contextmanager
def tls_broker(directory: Path, *extra: str, address: str = "127.0.0.1") -> Iterator[tuple[BrokerSettings, Authority]]:
    authority = make_authority(directory, "authority")
    certificate, key = authority.issue("server", address=address)
    listener = (f"cafile {authority.file}", f"certfile {certificate}", f"keyfile {key}", *extra)
    with run_mosquitto(directory, listener=listener) as broker:
        yield replace(broker.settings, tls=True), authority


def test_tls_connects_with_the_right_authority_and_names_a_wrong_one(tmp_path: Path) -> None:
    with tls_broker(tmp_path) as (settings, authority):
        with Link(replace(settings, ca_file=authority.file), Inbox().put, client_id="a") as link:
            link.connect_or_raise(WAIT_S)
        other = make_authority(tmp_path, "other")
        for ca_file in (other.file, None):
            wrong = refusal(replace(settings, ca_file=ca_file))
            assert "certificate is not trusted" in str(wrong)
            assert "--ca" in str(wrong.hint)


def test_tls_refuses_a_certificate_for_another_name(tmp_path: Path) -> None:
    with tls_broker(tmp_path, address="127.0.0.2") as (settings, authority):
        error = refusal(replace(settings, ca_file=authority.file))
        assert "certificate is not trusted" in str(error)
        assert "another name than '127.0.0.1'" in str(error.hint)


def test_a_broker_that_wants_a_client_certificate_says_so_when_it_is_missing_or_foreign(tmp_path: Path) -> None:
    with tls_broker(tmp_path, "require_certificate true") as (bare, authority):
        settings = replace(bare, ca_file=authority.file)
        assert "--cert" in str(refusal(settings).hint)
        stranger = make_authority(tmp_path, "stranger").issue("intruder")
        foreign = refusal(replace(settings, cert_file=stranger[0], key_file=stranger[1]))
        assert "does not accept the client certificate" in str(foreign.hint)
        certificate, key = authority.issue("device")
        with Link(replace(settings, cert_file=certificate, key_file=key), Inbox().put, client_id="a") as link:
            link.connect_or_raise(WAIT_S)


def test_unusable_certificate_files_are_told_before_anything_is_sent(tmp_path: Path) -> None:
    settings = BrokerSettings("127.0.0.1", free_port(), tls=True)
    assert "CA file" in str(refusal(replace(settings, ca_file=tmp_path / "missing.crt")))
    (tmp_path / "empty.crt").write_text("")
    assert "CA file" in str(refusal(replace(settings, ca_file=tmp_path / "empty.crt")))
    authority = make_authority(tmp_path, "authority")
    one, other = authority.issue("one"), authority.issue("other")
    mixed = refusal(replace(settings, ca_file=authority.file, cert_file=one[0], key_file=other[1]))
    assert "client certificate" in str(mixed)


def test_plain_and_tls_mixed_up_is_told_apart(tmp_path: Path, mosquitto: Mosquitto) -> None:
    assert "TLS" in str(refusal(replace(mosquitto.settings, tls=True)).hint)
    (tmp_path / "tls").mkdir()
    with tls_broker(tmp_path / "tls") as (settings, _):
        assert "mqtts://" in str(refusal(replace(settings, tls=False)).hint)


def test_a_broker_that_speaks_only_3_1_1_is_spoken_to_in_3_1_1(tmp_path: Path) -> None:
    inbox = Inbox()
    with run_amqtt(tmp_path) as port, Link(BrokerSettings("127.0.0.1", port), inbox.put, client_id="a") as link:
        link.connect_or_raise(WAIT_S)
        assert inbox.next(Connected).protocol == "3.1.1"
        assert link.subscribe(["x"]).wait(WAIT_S)
        assert link.publish("x", b"1", retain=True).wait(WAIT_S)
        assert inbox.next(Received).payload == b"1"


def test_the_link_comes_back_after_the_broker_did(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    with Link(mosquitto.settings, inbox.put, client_id="a", backoff_s=QUICK) as link:
        assert inbox.next(Connected).connection == 1
        mosquitto.stop(kill=True)
        inbox.next(Disconnected)
        offline = link.publish("x", b"lost")
        assert offline.settled
        assert not offline.ok
        assert inbox.next(Failed).error.hint
        mosquitto.start()
        assert inbox.next(Connected).connection > 1
        assert link.publish("x", b"here").wait(WAIT_S)


def test_what_was_on_its_way_when_the_link_dropped_is_settled_as_lost(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    with Link(mosquitto.settings, inbox.put, client_id="a", backoff_s=QUICK) as link:
        link.connect_or_raise(WAIT_S)
        assert mosquitto.process is not None
        mosquitto.process.send_signal(19)  # SIGSTOP: it accepts bytes and answers nothing
        sent = link.publish("x", b"1")
        assert not sent.wait(0.1)
        assert link.backlog == 1
        mosquitto.stop(kill=True)
        assert sent.wait(WAIT_S)
        assert not sent.ok
        assert link.backlog == 0


def test_the_will_is_published_when_the_client_vanishes_and_not_when_it_leaves(mosquitto: Mosquitto) -> None:
    inbox = Inbox()
    with Link(mosquitto.settings, inbox.put, client_id="watcher") as watcher:
        watcher.connect_or_raise(WAIT_S)
        assert watcher.subscribe(["will"]).wait(WAIT_S)
        leaving = Link(mosquitto.settings, Inbox().put, client_id="leaving", will=Will("will", b"left"))
        with leaving:
            leaving.connect_or_raise(WAIT_S)
        vanishing = Link(mosquitto.settings, Inbox().put, client_id="vanishing", will=Will("will", b"vanished"))
        with vanishing:
            vanishing.connect_or_raise(WAIT_S)
            with Link(mosquitto.settings, Inbox().put, client_id="vanishing") as usurper:  # the broker drops the first
                usurper.connect_or_raise(WAIT_S)
                assert inbox.next(Received).payload == b"vanished"


def test_a_refused_publish_is_told_by_its_receipt(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("topic read #\ntopic write allowed\n")
    with (
        run_mosquitto(tmp_path, f"acl_file {rules}") as broker,
        Link(broker.settings, Inbox().put, client_id="a") as link,
    ):
        link.connect_or_raise(WAIT_S)
        refused, allowed = link.publish("forbidden", b"x"), link.publish("allowed", b"x")
        assert refused.wait(WAIT_S)
        assert allowed.wait(WAIT_S)
        assert (refused.problem, allowed.problem) == ("not authorized", None)


def test_what_a_broker_limits_is_known_from_its_connack(tmp_path: Path) -> None:
    inbox = Inbox()
    with (
        run_mosquitto(tmp_path, "retain_available false", "max_packet_size 40000") as broker,
        Link(broker.settings, inbox.put, client_id="a") as link,
    ):
        link.connect_or_raise(WAIT_S)
        connected = inbox.next(Connected)
        assert (connected.retain_available, connected.maximum_packet_bytes) == (False, 40_000)


def test_leaving_while_nobody_answers_does_not_hang() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        inbox = Inbox()
        with Link(BrokerSettings("127.0.0.1", silent.getsockname()[1]), inbox.put, client_id="a"):
            accepted, _ = silent.accept()
            accepted.recv(1)  # it has connected and waits for CONNACK
        accepted.close()
    assert inbox.empty


def test_the_next_link_to_a_broker_that_knows_no_mqtt_5_does_not_ask_it_again(tmp_path: Path) -> None:
    with run_amqtt(tmp_path) as port:
        settings = BrokerSettings("127.0.0.1", port)
        for number in (2, 1):  # of connections that were tried
            events: SimpleQueue[LinkEvent] = SimpleQueue()
            with Link(settings, events.put, client_id=f"link-{number}") as link:
                link.connect_or_raise()
                connected = events.get(timeout=20)
                assert isinstance(connected, Connected)
                assert (connected.connection, connected.protocol) == (number, "3.1.1")
