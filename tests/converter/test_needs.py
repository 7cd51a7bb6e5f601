"""Devices that miss chunks are answered: by a push that is under way, and by `edgectl seed --watch`."""

import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import pytest

from converter.broker import Broker
from converter.publish.keys import make_keys, read_keys
from converter.publish.needs import Answers, answering
from converter.publish.parcel import wrap
from edge_agent.errors import Reason
from edge_agent.link.device import DeviceEvent, DeviceLink
from edge_agent.link.events import Connected
from edge_agent.link.messages import MAX_NEED, MessageError, format_need, parse_need
from edge_agent.release.archive import Artifact
from tests.converter.publishing import TOPICS, absent, artifact, chunks_of, publish, publish_quickly, retain
from tests.sim.broker import Mosquitto
from tests.sim.clock import FakeClock
from tests.sim.interrupting import running_edgectl

DIGESTS = tuple(f"{number:064x}" for number in range(MAX_NEED))


@contextmanager
def device(broker: Mosquitto) -> Iterator[DeviceLink]:
    events: SimpleQueue[DeviceEvent] = SimpleQueue()
    with DeviceLink(broker.settings, TOPICS, "porch", [], events.put) as link:
        while not isinstance(events.get(timeout=30), Connected):
            pass
        yield link


def test_a_need_is_read_as_it_was_written() -> None:
    assert parse_need(format_need(DIGESTS)) == DIGESTS


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b'{"digests":[1]}', b'{"digests":["../x"]}', b'{"digests":"0"}', b"{}",
     format_need(DIGESTS)[:-2] + b',"' + b"0" * 64 + b'"]}'],
)  # fmt: skip
def test_what_is_no_need_is_a_message_error(payload: bytes) -> None:
    with pytest.raises(MessageError):
        parse_need(payload)


def test_what_many_devices_miss_at_once_is_sent_once() -> None:
    clock = FakeClock()
    answers = Answers({DIGESTS[0]: b"a", DIGESTS[1]: b"b"}, clock=clock)

    assert answers.due(format_need((DIGESTS[0], DIGESTS[0], DIGESTS[9]))) == {DIGESTS[0]: b"a"}
    assert answers.due(format_need(DIGESTS[:2])) == {DIGESTS[1]: b"b"}
    assert answers.due(b"garbage") == {}
    clock.advance(2.0)
    assert answers.due(format_need(DIGESTS[:2])) == {DIGESTS[0]: b"a", DIGESTS[1]: b"b"}


def test_a_push_under_way_gives_devices_what_they_miss(tmp_path: Path, mosquitto: Mosquitto) -> None:
    chunks = _payloads(artifact(tmp_path, "1"))
    taken: list[str] = []
    with (
        answering(lambda: Broker(mosquitto.settings, TOPICS), chunks) as answers,
        device(mosquitto) as link,
    ):
        link.collect(list(chunks), lambda digest, _: taken.append(digest), cancelled=Event().is_set, trouble=_ignore)

    assert sorted(taken) == sorted(chunks)
    assert answers.sent >= len(chunks)


def _payloads(what: Artifact) -> dict[str, bytes]:
    return wrap(what, "stable", datetime.now(UTC)).chunks


def _ignore(_reason: Reason, _detail: str) -> None:
    pass


def test_a_push_answers_while_it_runs(tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker loses a chunk that the push has just found there; a device misses it, and the push sends it again."""
    publish_quickly(monkeypatch)
    make_keys(tmp_path / "keys")
    keys, what = read_keys(tmp_path / "keys"), artifact(tmp_path, "1")
    publish(mosquitto, what, keys)
    second = artifact(tmp_path, "2", what.members["model.tflite"] + b"more")
    shared = min(chunks_of(what) & chunks_of(second))
    got = Event()

    def lose(_done_bytes: int, _total_bytes: int) -> None:
        if not got.is_set():
            retain(mosquitto, TOPICS.blob(shared), b"")
            with device(mosquitto) as link:
                link.collect([shared], lambda *_: got.set(), cancelled=Event().is_set, trouble=_ignore)

    pushed = publish(mosquitto, second, keys, progress=lose)

    assert got.is_set()
    assert pushed.needs_answered >= 1
    assert absent(mosquitto, chunks_of(second)) == set()


def _hand_on(lines: Iterable[str], said: "SimpleQueue[str]") -> None:
    for line in lines:
        said.put(line)


def test_seed_watch_answers_until_it_is_interrupted(tmp_path: Path, mosquitto: Mosquitto) -> None:
    first, second = artifact(tmp_path, "1"), artifact(tmp_path, "2")
    command = ["seed", "--watch", "--broker", mosquitto.url, str(first.path), str(second.path)]
    with running_edgectl(*command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        said: SimpleQueue[str] = SimpleQueue()
        assert process.stderr is not None
        listening = Thread(target=_hand_on, args=(process.stderr, said))
        listening.start()
        while "waiting for devices" not in said.get(timeout=60):
            pass
        mosquitto.stop(kill=True)  # and everything it had
        mosquitto.start()
        wanted, taken = sorted(chunks_of(first) | chunks_of(second)), []
        with device(mosquitto) as link:
            link.collect(wanted, lambda digest, _: taken.append(digest), cancelled=Event().is_set, trouble=_ignore)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        listening.join(30)

    assert sorted(taken) == wanted
    assert process.returncode == 130  # as of any program that Ctrl-C ended
