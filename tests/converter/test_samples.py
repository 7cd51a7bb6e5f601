"""Samples pulled back: what devices keep arrives whole and once, whatever is lost, damaged or made up on the way."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Self

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from converter.broker import Broker
from converter.cli import cli
from converter.fleet import samples
from converter.fleet.sample_files import Assembly, SampleFiles, check_content
from converter.fleet.samples import Puller, pull
from edge_agent.config.sinks import SamplesSink
from edge_agent.disk import open_private
from edge_agent.errors import InputError, LinkError
from edge_agent.inference.samples.folder import RESULTS, SampleFolder, sample_names
from edge_agent.link.device import DeviceEvent, DeviceLink, SamplesAsked
from edge_agent.link.events import Receipt
from edge_agent.link.messages import MessageError
from edge_agent.link.samples import (
    MAX_SAMPLE_BYTES,
    Answered,
    Ask,
    Part,
    format_answered,
    format_ask,
    parse_sample,
    parts_of,
)
from edge_agent.link.topics import Topics
from edge_agent.service.sampling import SampleSender
from tests.sim.broker import Mosquitto
from tests.sim.clock import FakeClock

AT_S = 1_750_000_000.0
JPEG = b"\xff\xd8\xff"
TOPICS = Topics()
Hear = Callable[[bytes], None]


class Kept:
    """A device's folders, and its own sender, which answers at once on the caller's thread."""

    def __init__(self, folder: Path, *pipelines: str) -> None:
        self.sinks = {name: SamplesSink("samples", folder / name, publish=True) for name in pipelines}
        self.asks: list[Ask] = []

    def keep(
        self, count: int = 1, *, pipeline: str = "birds", content: bytes = b"x", suffix: str = ".jpg"
    ) -> list[str]:
        folder = SampleFolder(open_private(self.sinks[pipeline].folder))
        names = []
        for number in range(count):
            name = folder.next_name(AT_S, suffix)
            begin = JPEG if suffix == ".jpg" else b""
            folder.put(name, begin + content + str(number).encode(), json.dumps({"input": name, "n": number}).encode())
            names.append(name)
        return names

    def content(self, name: str, pipeline: str = "birds") -> bytes:
        return (self.sinks[pipeline].folder / name).read_bytes()

    def answer(self, ask: Ask, hear: Hear) -> None:
        self.asks.append(ask)

        def publish(payload: bytes) -> Receipt:
            hear(payload)
            receipt = Receipt()
            receipt.settle(None)
            return receipt

        SampleSender(self.sinks, publish, pause=lambda _: False)._answer(ask)


class Pulled:
    """A puller whose devices are `Kept`, or what a test makes of them; `lose` says which messages do not arrive."""

    def __init__(self, into: Path, devices: dict[str, Callable[[Ask, Hear], None]], **more: object) -> None:
        self.into = into
        self.devices = devices
        self.clock = FakeClock()
        self.said: list[str] = []
        self.lose: Callable[[bytes], bool] = lambda _: False
        self.files = SampleFiles(into)
        self._coming: list[tuple[str, bytes]] = []
        self.puller = Puller(devices, self.files, self._ask, self.said.append, self.clock, **more)  # type: ignore[arg-type]  # handed on

    def _ask(self, device: str, ask: Ask) -> None:
        self.devices[device](ask, lambda payload: self._coming.append((device, payload)))

    def run(self, turns: int = 1_000) -> "Pulled":
        for _ in range(turns):
            if self.puller.is_done:
                return self
            wait_s = self.puller.ask_due()
            if not self._coming:
                self.clock.advance(wait_s)
            while self._coming:
                device, payload = self._coming.pop(0)
                if not self.lose(payload):
                    self.puller.hear(device, payload)
        raise AssertionError(f"it never ends: {self.said}")

    def names(self, device: str = "porch", pipeline: str = "birds") -> list[str]:
        folder = self.into / device / pipeline
        return sample_names(open_private(folder)) if folder.is_dir() else []

    @property
    def leftovers(self) -> list[Path]:
        return [path for path in self.into.rglob("*") if path.name.endswith(".tmp")]


@pytest.fixture
def porch(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "device", "birds", "cats")


def test_all_that_is_kept_arrives_in_a_folder_for_each_pipeline(tmp_path: Path, porch: Kept) -> None:
    names, cats = porch.keep(40), porch.keep(3, pipeline="cats", content=bytes(200_000))
    pulled = Pulled(tmp_path / "pulled", {"porch": porch.answer}).run()
    assert (pulled.names(), pulled.names(pipeline="cats")) == (names, cats)
    assert all((tmp_path / "pulled/porch/birds" / name).read_bytes() == porch.content(name) for name in names)
    lines = (tmp_path / "pulled/porch/birds" / RESULTS).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"input": name, "n": number} for number, name in enumerate(names)]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "pulled").rglob("*")}
    assert modes == {0o700, 0o600}
    assert pulled.said == []


def test_run_again_only_what_is_new_is_asked_for(tmp_path: Path, porch: Kept) -> None:
    porch.keep(5)
    Pulled(tmp_path / "pulled", {"porch": porch.answer}).run()
    new = porch.keep(2)
    again = Pulled(tmp_path / "pulled", {"porch": porch.answer}).run()
    assert again.files.added == {("porch", "birds"): 2}
    assert again.names()[-2:] == new
    assert [*porch.asks[-1].after] == ["birds"]


def test_a_count_is_of_the_newest_of_each_pipeline(tmp_path: Path, porch: Kept) -> None:
    names, cats = porch.keep(50), porch.keep(3, pipeline="cats")
    pulled = Pulled(tmp_path / "pulled", {"porch": porch.answer}, most=20).run()
    assert (pulled.names(), pulled.names(pipeline="cats")) == (names[-20:], cats)


def test_with_a_time_it_goes_on_with_what_is_newly_kept(tmp_path: Path, porch: Kept) -> None:
    first = porch.keep(1)
    pulled = Pulled(tmp_path / "pulled", {"porch": porch.answer}, goes_on=True)
    with pytest.raises(AssertionError, match="never ends"):
        pulled.run(turns=20)
    assert pulled.names() == first
    more = porch.keep(1)
    with pytest.raises(AssertionError, match="never ends"):
        pulled.run(turns=20)
    assert pulled.names() == [*first, *more]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_lost_on_the_way_is_asked_for_again(tmp_path: Path, porch: Kept, seed: int) -> None:
    names = porch.keep(30, content=b"y" * 120_000)  # three parts each
    pulled = Pulled(tmp_path / "pulled", {"porch": porch.answer})
    chance = Random(seed)
    pulled.lose = lambda _: chance.random() < 0.05
    pulled.run()
    assert len(porch.asks) > 2
    assert pulled.names() == names
    assert all((tmp_path / "pulled/porch/birds" / name).read_bytes() == porch.content(name) for name in names)
    assert pulled.leftovers == []


def test_one_that_never_arrives_whole_is_told_and_the_rest_goes_on(tmp_path: Path, porch: Kept) -> None:
    names = porch.keep(20, content=b"y" * 60_000)
    pulled = Pulled(tmp_path / "pulled", {"porch": porch.answer})

    def lose(payload: bytes) -> bool:
        message = parse_sample(payload)
        return isinstance(message, Part) and (message.name, message.part) == (names[3], 1)

    pulled.lose = lose
    pulled.run()
    assert pulled.names() == [name for name in names if name != names[3]]
    assert [text for text in pulled.said if "has not arrived" in text] == [
        f"porch: birds: {names[3]} was sent 3 times and has not arrived"
    ]
    assert pulled.leftovers == []


def test_one_that_is_too_large_is_told_and_passed(tmp_path: Path, porch: Kept) -> None:
    large = porch.keep(1, content=bytes(MAX_SAMPLE_BYTES))
    rest = porch.keep(1)
    pulled = Pulled(tmp_path / "pulled", {"porch": porch.answer}).run()
    assert pulled.names() == rest
    assert len(pulled.said) == 1
    assert f"{large[0]} was not sent" in pulled.said[0]
    assert len(porch.asks) == 1


def test_a_device_that_says_nothing_is_given_up_and_the_others_are_not(tmp_path: Path, porch: Kept) -> None:
    names = porch.keep(2)
    asked: list[Ask] = []
    pulled = Pulled(tmp_path / "pulled", {"attic": lambda ask, _: asked.append(ask), "porch": porch.answer}).run()
    assert pulled.names() == names
    assert (pulled.puller.silent, len(asked)) == (["attic"], 3)
    assert not (tmp_path / "pulled/attic").exists()


# --- what nobody should send -----------------------------------------------------------------------------------------


def saying(*samples: tuple[str, str, bytes, bytes], left: int = 0) -> Callable[[Ask, Hear], None]:
    """A device that sends just this, of (pipeline, name, line, content)."""

    def answer(ask: Ask, hear: Hear) -> None:
        for sample in samples:
            for payload in parts_of(*sample):
                hear(payload)
        hear(format_answered(Answered(ask.id, {"birds": tuple(name for _, name, _, _ in samples)}, {"birds": left})))

    return answer


GOOD = ("birds", "20250615T150640.250Z.jpg", b"{}", JPEG)


@pytest.mark.parametrize(
    ("name", "line", "content"),
    [
        ("../../escaped.jpg", b"{}", JPEG),
        ("/tmp/20250615T150640.251Z.jpg", b"{}", JPEG),
        ("20250615T150640.251Z.exe", b"{}", b"MZ"),
        ("results.jsonl", b"{}", b"{}"),
        (".bashrc", b"{}", b"x"),
        ("20250615T150640.251Z.jpg", b"{}", b"#!/bin/sh"),
        ("20250615T150640.251Z.csv", b"{}", b"\xff\xfe"),
        ("20250615T150640.251Z.jpg", b"[]", JPEG),
        ("20250615T150640.251Z.jpg", b'{"a": ', JPEG),
        ("20250615T150640.251Z.jpg", b'{"a":' * 5_000 + b"1" + b"}" * 5_000, JPEG),
        ("20250615T150640.251Z.jpg", b'{"a":"' + b"x" * 1_000_001 + b'"}', JPEG),
    ],
)
def test_what_is_no_sample_is_told_and_not_written_and_the_rest_is(
    tmp_path: Path, name: str, line: bytes, content: bytes
) -> None:
    into = tmp_path / "deep" / "pulled"
    pulled = Pulled(into, {"porch": saying(("birds", name, line, content), GOOD)}).run()
    assert [path.relative_to(into).as_posix() for path in sorted(into.rglob("*")) if path.is_file()] == [
        "porch/birds/20250615T150640.250Z.jpg", "porch/birds/results.jsonl",
    ]  # fmt: skip
    assert {path for path in tmp_path.rglob("*") if path.is_file() and into not in path.parents} == set()
    assert len(pulled.said) == 1
    assert pulled.said[0].startswith("porch: left out: ")


def test_the_name_in_the_line_is_that_of_the_file_whatever_the_device_says(tmp_path: Path) -> None:
    line = json.dumps({"input": "../../etc/passwd", "results": []}).encode()
    pulled = Pulled(tmp_path, {"porch": saying((*GOOD[:2], line, JPEG))}).run()
    assert json.loads((tmp_path / "porch/birds" / RESULTS).read_text()) == {"input": GOOD[1], "results": []}
    assert pulled.names() == [GOOD[1]]


def test_other_bytes_than_were_announced_are_not_written(tmp_path: Path) -> None:
    def answer(ask: Ask, hear: Hear) -> None:
        for payload in parts_of("birds", GOOD[1], b"{}", JPEG + bytes(100_000)):
            hear(payload[:-1] + b"?")
        hear(format_answered(Answered(ask.id, {"birds": (GOOD[1],)}, {})))

    pulled = Pulled(tmp_path, {"porch": answer}).run()
    assert "the digest is another" in pulled.said[0]
    assert not (tmp_path / "porch").exists()


def test_a_device_that_promises_more_for_ever_is_given_up(tmp_path: Path) -> None:
    pulled = Pulled(tmp_path, {"porch": saying(left=1)}).run()
    assert pulled.said == ["porch: given up: it does not answer any more, or sends nothing new"]


def test_a_device_that_names_new_samples_for_ever_and_sends_none_is_given_up(tmp_path: Path) -> None:
    numbers = iter(range(1_000_000))

    def answer(ask: Ask, hear: Hear) -> None:
        names = tuple(f"20250615T{next(numbers):06}.250Z.jpg" for _ in range(10))
        hear(format_answered(Answered(ask.id, {"birds": names}, {"birds": 1})))

    pulled = Pulled(tmp_path, {"porch": answer}).run(turns=2_000)
    assert pulled.said[-1] == "porch: given up: more than 100 of its samples did not arrive"
    assert len(pulled.said) < 25


def test_a_flood_ends_at_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_BYTES", 10_000)
    numbers = iter(range(1_000_000))

    def answer(ask: Ask, hear: Hear) -> None:
        saying(("birds", f"20250615T{next(numbers):06}.250Z.jpg", b"{}", JPEG + bytes(3_000)), left=1)(ask, hear)

    pulled = Pulled(tmp_path, {"porch": answer}).run()
    assert 10_000 <= pulled.files.bytes < 20_000


def test_answers_to_others_end_nothing_and_their_samples_are_taken_too(tmp_path: Path) -> None:
    def answer(ask: Ask, hear: Hear) -> None:
        saying(GOOD, left=7)(Ask("somebody", 1), hear)
        saying()(ask, hear)

    pulled = Pulled(tmp_path, {"porch": answer}).run()
    assert pulled.names() == [GOOD[1]]


@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from(list(parts_of("birds", GOOD[1], b"{}", JPEG + bytes(120_000)))),
        max_size=12,
    )
)
def test_whatever_comes_in_whatever_order_nothing_half_is_written(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[bytes]
) -> None:
    into = tmp_path_factory.mktemp("pulled")

    def answer(_ask: Ask, hear: Hear) -> None:
        for payload in payloads:
            hear(payload)

    pulled = Pulled(into, {"porch": answer}).run()
    written = [path for path in into.rglob("*") if path.is_file() and path.name != RESULTS]
    assert [path.read_bytes() for path in written] in ([], [JPEG + bytes(120_000)])
    assert pulled.leftovers == []


def test_a_part_that_comes_twice_is_one() -> None:
    assembly = Assembly()
    first, second, third = (parse_sample(each) for each in parts_of("birds", "n", b"{}", bytes(120_000)))
    whole = None
    for part in (first, second, first, second, third):
        assert isinstance(part, Part)
        whole = assembly.add(part)
    assert whole == (b"{}", bytes(120_000))


def test_a_folder_that_cannot_be_written_ends_it(tmp_path: Path) -> None:
    (tmp_path / "porch").write_text("in the way")
    with pytest.raises(InputError, match="porch"):
        Pulled(tmp_path, {"porch": saying(GOOD)}).run()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="file"):
        SampleFiles(tmp_path / "file")


@pytest.mark.parametrize(
    ("suffix", "content"),
    [(".jpg", JPEG), (".png", b"\x89PNG\r\n\x1a\n"), (".wav", b"RIFF"), (".csv", b"1,2\n"), (".tif", b"II*\0")],
)
def test_what_is_what_its_name_says_may_be_written(suffix: str, content: bytes) -> None:
    check_content(f"20250615T150640.250Z{suffix}", content)
    with pytest.raises(MessageError):
        check_content(f"20250615T150640.250Z{suffix}", b"\0\xff")


# --- over a real broker ----------------------------------------------------------------------------------------------


class Porch:
    """A device's link and its sender."""

    def __init__(self, broker: Mosquitto, kept: Kept, *, publishes: bool = True) -> None:
        self.link = DeviceLink(broker.settings, TOPICS, "porch", (), self._hear, hears_asks=publishes)
        self.sender = SampleSender(kept.sinks, self.link.publish_sample)

    def _hear(self, event: DeviceEvent) -> None:
        if isinstance(event, SamplesAsked):
            self.sender.asked(event.payload)

    def __enter__(self) -> Self:
        self.link.__enter__()
        self.link._link.connect_or_raise()
        return self

    def __exit__(self, *_: object) -> None:
        self.sender.close()
        self.link.__exit__(None, None, None)


def quick(kept: Kept) -> Kept:
    kept.sinks = {
        name: SamplesSink("samples", sink.folder, publish=True, max_bytes_per_s=10**9)
        for name, sink in kept.sinks.items()
    }
    return kept


def test_over_a_real_broker_everything_arrives(tmp_path: Path, mosquitto: Mosquitto, porch: Kept) -> None:
    names = quick(porch).keep(20, content=b"p" * 150_000)
    files = SampleFiles(tmp_path / "pulled")
    with Porch(mosquitto, porch), Broker(mosquitto.settings, TOPICS) as broker:
        said: list[str] = []
        assert pull(broker, files, [], said.append) == []
    assert said == []
    assert sample_names(open_private(files.path("porch", "birds"))) == names
    assert all((files.path("porch", "birds") / name).read_bytes() == porch.content(name) for name in names)


def test_the_command_says_what_came_and_who_did_not_answer(
    tmp_path: Path, mosquitto: Mosquitto, porch: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_FIRST_S", 0.3)
    quick(porch).keep(3)
    where = ("--broker", mosquitto.url, "--into", str(tmp_path / "pulled"))
    with Porch(mosquitto, porch):
        done = CliRunner().invoke(cli, ["samples", *where, "--json"], catch_exceptions=False)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert told == [
            {"device": "porch", "pipeline": "birds", "folder": str(tmp_path / "pulled/porch/birds"), "added": 3}
        ]
        again = CliRunner().invoke(cli, ["samples", *where], catch_exceptions=False)
        assert (again.stdout, again.stderr) == ("", "nothing that is not here already\n")
        named = CliRunner().invoke(cli, ["samples", *where, "--device", "porch", "--device", "attic"])
        assert isinstance(named.exception, LinkError)
        assert "not answered" in str(named.exception)
        assert str(named.exception).endswith("attic")


def test_who_does_not_publish_sends_nothing_and_is_told_of(
    tmp_path: Path, mosquitto: Mosquitto, porch: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "_FIRST_S", 0.3)
    porch.keep(3)
    with Porch(mosquitto, porch, publishes=False), Broker(mosquitto.settings, TOPICS) as listener:
        listener.listen([TOPICS.sample("porch")])
        done = CliRunner().invoke(cli, ["samples", "--broker", mosquitto.url, "--into", str(tmp_path / "pulled")])
        assert isinstance(done.exception, LinkError)
        assert "publish = true" in str(done.exception.hint)
        assert listener.next_event(0.2) is None
    assert list((tmp_path / "pulled").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", "5", "--for", "1m"), "do not go together"),
        (("--device", "../porch"), "an id is 1 to 64"),
        (("--for", "soon"), "--for 'soon': expected a time"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_anything_is_done(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    where = ("--broker", "mqtt://127.0.0.1:1", "--into", str(tmp_path / "pulled"))
    done = CliRunner().invoke(cli, ["samples", *where, *arguments])
    assert message in str(done.exception)
    assert type(done.exception).__name__ in ("RecipeError", "ConfigError")
    assert not (tmp_path / "pulled").exists()


def test_where_nobody_is_online_that_is_said(tmp_path: Path, mosquitto: Mosquitto) -> None:
    done = CliRunner().invoke(cli, ["samples", "--broker", mosquitto.url, "--into", str(tmp_path / "pulled")])
    assert "no device is online" in str(done.exception)


def test_a_samples_message_that_is_retained_is_nobodys_answer(
    tmp_path: Path, mosquitto: Mosquitto, porch: Kept
) -> None:
    quick(porch).keep(1)
    files = SampleFiles(tmp_path / "pulled")
    with Porch(mosquitto, porch), Broker(mosquitto.settings, TOPICS) as broker:
        for payload in parts_of("birds", GOOD[1], b"{}", JPEG):
            broker.publish_retained(TOPICS.sample("porch"), payload)
        pull(broker, files, ["porch"], print)
    assert files.added == {("porch", "birds"): 1}
    assert not files.has("porch", "birds", GOOD[1])


def test_an_ask_is_a_message_of_the_protocol() -> None:
    assert json.loads(format_ask(Ask("a", 3, {"birds": "x"}))) == {
        "schema": 1,
        "id": "a",
        "most": 3,
        "after": {"birds": "x"},
    }
