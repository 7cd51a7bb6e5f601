"""What a device sends of its samples: only where it may, only what was asked for, and no faster than it may."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.config.sinks import SamplesSink
from edge_agent.disk import Disk
from edge_agent.inference.samples.folder import SampleFolder
from edge_agent.link.events import Receipt
from edge_agent.link.messages import MAX_PAYLOAD_BYTES
from edge_agent.link.samples import MAX_SAMPLE_BYTES, MOST_AT_ONCE, Answered, Ask, Part, format_ask, parse_sample
from edge_agent.service.sampling import SampleSender
from tests.sim.disk import SimDisk
from tests.sim.waiting import until

AT_S = 1_750_000_000.0


class Broker:
    """Takes what is published, unless it is away."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.away_after: int | None = None
        self.refused = 0

    def publish(self, payload: bytes) -> Receipt:
        receipt = Receipt()
        if self.away_after is not None and len(self.payloads) >= self.away_after:
            receipt.settle("there is no connection")
            self.refused += 1
        else:
            self.payloads.append(payload)
            receipt.settle(None)
        return receipt

    @property
    def messages(self) -> list[Part | Answered]:
        return [parse_sample(payload) for payload in self.payloads]

    @property
    def ends(self) -> list[Answered]:
        return [message for message in self.messages if isinstance(message, Answered)]


class Device:
    """Folders of samples by pipeline, and who sends them."""

    def __init__(self, *pipelines: str, publish: bool = True, max_bytes_per_s: int = 1_000_000_000) -> None:
        self.broker = Broker()
        self.disks = {name: Disk(SimDisk()) for name in pipelines}
        self.paused_s: list[float] = []
        sinks = {
            name: SamplesSink("samples", Path(name), publish=publish, max_bytes_per_s=max_bytes_per_s)
            for name in pipelines
        }
        self.sender = SampleSender(
            sinks, self.broker.publish, open_folder=lambda sink: self.disks[str(sink.folder)], pause=self._pause
        )

    def _pause(self, seconds: float) -> bool:
        self.paused_s.append(seconds)
        return False

    def keep(self, pipeline: str, *contents: bytes) -> list[str]:
        folder = SampleFolder(self.disks[pipeline])
        names = []
        for content in contents:
            names.append(folder.next_name(AT_S, ".jpg"))
            folder.put(names[-1], content, json.dumps({"input": names[-1], "of": content[:8].decode()}).encode())
        return names

    def answer(self, **keys: object) -> Answered:
        """Ask, and wait for the end of the answer."""
        before = len(self.broker.ends)
        ask = Ask(**{"id": "a", "most": 1_000, **keys})  # type: ignore[arg-type]  # as they come over the wire
        self.sender.asked(format_ask(ask))
        until(lambda: len(self.broker.ends) > before)
        return self.broker.ends[-1]


@contextmanager
def device(*pipelines: str, **more: object) -> Iterator[Device]:
    found = Device(*pipelines, **more)  # type: ignore[arg-type]  # handed on
    with found.sender:
        yield found


def test_all_is_sent_the_oldest_first_with_what_was_said_of_it() -> None:
    with device("birds") as one:
        names = one.keep("birds", b"first", b"second")
        end = one.answer()
    assert end == Answered("a", {"birds": tuple(names)}, {"birds": 0})
    parts = [message for message in one.broker.messages if isinstance(message, Part)]
    assert [part.name for part in parts] == names
    wholes = [part.content.partition(b"\n") for part in parts]
    assert [(json.loads(line), content) for line, _, content in wholes] == [
        ({"input": names[0], "of": "first"}, b"first"),
        ({"input": names[1], "of": "second"}, b"second"),
    ]


def test_only_what_is_newer_than_what_the_asker_has_and_no_more_than_wanted() -> None:
    with device("birds") as one:
        names = one.keep("birds", *(b"x" * 8 for _ in range(6)))
        assert one.answer(after={"birds": names[2]}).sent == {"birds": tuple(names[3:])}
        assert one.answer(most=2).sent == {"birds": tuple(names[4:])}
        assert one.answer(after={"birds": names[-1]}).sent == {"birds": ()}


def test_a_long_answer_is_given_in_turns() -> None:
    with device("birds", "cats") as one:
        names = one.keep("birds", *(b"x" for _ in range(MOST_AT_ONCE + 3)))
        cats = one.keep("cats", b"y")
        first = one.answer()
        assert (first.sent, first.left) == ({"birds": tuple(names[:MOST_AT_ONCE]), "cats": ()}, {"birds": 3, "cats": 1})
        second = one.answer(after={"birds": first.sent["birds"][-1]})
        assert (second.sent, second.left) == (
            {"birds": tuple(names[MOST_AT_ONCE:]), "cats": tuple(cats)}, {"birds": 0, "cats": 0},
        )  # fmt: skip


def test_large_ones_are_cut_and_end_an_answer_sooner_and_too_large_ones_are_left_out() -> None:
    with device("birds") as one:
        names = one.keep("birds", bytes(MAX_SAMPLE_BYTES + 1), b"z" * (MAX_SAMPLE_BYTES - 1_000), bytes(100_000), b"x")
        end = one.answer()
        assert end.sent == {"birds": (names[1], names[2])}
        assert end.left == {"birds": 1}
        assert [(each.name, "at most" in each.problem) for each in end.left_out] == [(names[0], True)]
        assert one.answer(after={"birds": names[2]}).sent == {"birds": (names[3],)}
    assert max(map(len, one.broker.payloads)) <= MAX_PAYLOAD_BYTES


def test_it_sends_no_faster_than_it_may() -> None:
    with device("birds", max_bytes_per_s=10_000) as one:
        one.keep("birds", bytes(100_000), bytes(50_000))
        one.answer()
    sent_bytes = sum(len(payload) for payload in one.broker.payloads[:-1])
    assert sum(one.paused_s) == pytest.approx(sent_bytes / 10_000)


def test_nothing_is_sent_of_a_pipeline_that_does_not_publish() -> None:
    with device("birds", publish=False) as one:
        one.keep("birds", b"private")
        assert one.answer() == Answered("a", {}, {})
    assert len(one.broker.payloads) == 1


def test_a_folder_that_is_not_there_yet_holds_nothing_and_is_not_made(tmp_path: Path) -> None:
    broker = Broker()
    sink = SamplesSink("samples", tmp_path / "samples", publish=True)
    with SampleSender({"birds": sink}, broker.publish) as sender:
        sender.asked(format_ask(Ask("a", 1)))
        until(lambda: broker.ends)
    assert broker.ends == [Answered("a", {"birds": ()}, {"birds": 0})]
    assert not (tmp_path / "samples").exists()


def test_a_link_that_is_lost_ends_the_answer_and_the_next_ask_is_answered() -> None:
    with device("birds") as one:
        one.keep("birds", bytes(200_000), b"x")
        one.broker.away_after = 2
        one.sender.asked(format_ask(Ask("a", 1_000)))
        one.sender.asked(format_ask(Ask("b", 1_000)))
        until(lambda: one.broker.refused == 2)
        one.broker.away_after = None
        end = one.answer(id="c")
    assert (end.ask, len(end.sent["birds"])) == ("c", 2)
    assert "a" not in {each.ask for each in one.broker.ends}


def test_what_is_no_ask_is_not_answered() -> None:
    with device("birds") as one:
        for payload in (b"", b"{", b"[]", b'{"id": "a b", "most": 1}', b"\xff" * 100):
            one.sender.asked(payload)
        one.answer()
    assert len(one.broker.ends) == 1


def test_a_sample_that_is_gone_meanwhile_is_said_to_be() -> None:
    with device("birds") as one:
        names = one.keep("birds", b"1", b"2")
        disk = one.disks["birds"]
        size = disk.size
        one.disks["birds"].size = lambda name: None if name == names[0] else size(name)  # type: ignore[method-assign]  # as if it had just gone
        end = one.answer()
    assert end.sent == {"birds": (names[1],)}
    assert [each.name for each in end.left_out] == [names[0]]
