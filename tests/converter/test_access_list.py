"""The mosquitto configurations and the access list of docs/security.md let each do its part and nothing else."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue
from random import Random

import pytest

from converter.broker import Broker
from converter.fleet.devices import look
from converter.publish.keys import make_keys, read_keys
from converter.publish.parcel import wrap
from converter.publish.push import push
from edge_agent.clock import SystemClock
from edge_agent.errors import LinkError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.device import DeviceEvent, DeviceLink, ReleaseDocument, SamplesAsked
from edge_agent.link.events import Connected
from edge_agent.link.messages import AgentReport, Reported, format_reported
from edge_agent.link.mqtt import Link
from edge_agent.link.topics import Topics
from edge_agent.release.archive import Artifact, read_artifact
from tests.sim.artifact import make_members, pack
from tests.sim.broker import password_file, run_mosquitto

SECURITY = Path(__file__).parent.parent.parent / "docs" / "security.md"
TOPICS = Topics()
WAIT_S = 30.0
# The broker of the tests lets strangers in unless it is told otherwise; mosquitto's own default does not.
NO_STRANGERS = {"client certificates": ("allow_anonymous false",)}
LogIn = Callable[[str], BrokerSettings]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's commands make; the broker's name is that of this machine."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    directory = tmp_path_factory.mktemp("certificates")
    commands = blocks("sh")[0].replace("broker.local", "localhost").replace("in porch-pi", "in porch-pi porch")
    subprocess.run(["sh", "-ec", commands], cwd=directory, check=True, capture_output=True)
    return directory


@pytest.fixture(params=["passwords", "client certificates"])
def log_in(request: pytest.FixtureRequest, tmp_path: Path, certificates: Path) -> Iterator[LogIn]:
    """Settings for somebody with this name, on a broker as the page has it."""
    with_passwords, with_certificates, rules = blocks("")
    config = with_passwords if request.param == "passwords" else with_certificates
    (tmp_path / "aclfile").write_text(rules)
    password_file(tmp_path, dict.fromkeys(("porch", "publisher", "onlooker", "collector"), "secret")).rename(
        tmp_path / "passwd"
    )
    for each in (*certificates.glob("*.crt"), *certificates.glob("*.key")):
        shutil.copy(each, tmp_path)
    lines = [
        re.sub(r"(\S+\.(?:crt|key)|aclfile|passwd)$", lambda found: str(tmp_path / found[1]), line)
        for line in config.strip().splitlines()
        if not line.startswith("listener")
    ]
    with run_mosquitto(tmp_path, *lines, *NO_STRANGERS.get(request.param, ())) as broker:

        def settings(name: str) -> BrokerSettings:
            ours = replace(broker.settings, host="localhost", tls=True, ca_file=tmp_path / "ca.crt")
            if request.param == "passwords":
                return replace(ours, username=name, password="secret")
            return replace(ours, cert_file=tmp_path / f"{name}.crt", key_file=tmp_path / f"{name}.key")

        yield settings


def blocks(language: str) -> list[str]:
    """The page's code blocks of one language."""
    link = SECURITY.read_text(encoding="utf-8").partition("\n## The link\n")[2]
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", link)
    return [text for kind, text in found if kind == language]


def artifact(directory: Path) -> Artifact:
    members = make_members(Random(1).randbytes(200_000), name="birds", version="1")
    return read_artifact(pack(members, directory / "birds-1.edge"))


def test_publisher_device_and_onlooker_can_do_their_parts(tmp_path: Path, log_in: LogIn) -> None:
    make_keys(tmp_path / "keys")
    what, publisher, onlooker = artifact(tmp_path), log_in("publisher"), log_in("onlooker")
    keys = read_keys(tmp_path / "keys")
    assert push(what, "stable", keys, lambda: Broker(publisher, TOPICS), progress=lambda *_: None).published

    events: SimpleQueue[DeviceEvent] = SimpleQueue()
    taken: list[str] = []
    with DeviceLink(log_in("porch"), TOPICS, "porch", [("birds", "stable")], events.put) as device:
        while not isinstance(events.get(timeout=WAIT_S), ReleaseDocument):
            pass
        digests = list(wrap(what, "stable", _now()).chunks)
        device.collect(
            digests, lambda digest, _: taken.append(digest), cancelled=lambda: False, trouble=lambda *_: None
        )
        reported = device.publish_reported(format_reported(Reported(AgentReport("0.1.0", "3.11"))))
        assert reported.wait(WAIT_S)
        assert reported.ok
        for settings in (onlooker, publisher):  # a rollout is judged by what devices report
            with Broker(settings, TOPICS) as laptop:
                assert [(found.id, found.online) for found in look(laptop)] == [("porch", True)]
    assert sorted(taken) == sorted(digests)


def test_a_collector_gets_samples_and_an_onlooker_does_not_see_them(log_in: LogIn) -> None:
    heard: SimpleQueue[DeviceEvent] = SimpleQueue()
    with Broker(log_in("publisher"), TOPICS) as publisher:
        publisher.publish_retained(TOPICS.release("birds", "stable"), b"x")
    with (
        DeviceLink(log_in("porch"), TOPICS, "porch", [("birds", "stable")], heard.put, hears_asks=True) as device,
        Broker(log_in("onlooker"), TOPICS) as onlooker,
        Broker(log_in("collector"), TOPICS) as collector,
    ):
        while not isinstance(heard.get(timeout=WAIT_S), ReleaseDocument):  # whoever has it, has subscribed to all
            pass
        onlooker.listen([TOPICS.sample("porch"), TOPICS.event("porch")])
        collector.listen([TOPICS.sample("porch")])
        collector.publish(TOPICS.ask("porch"), b"ask")
        assert heard.get(timeout=WAIT_S) == SamplesAsked(b"ask")
        assert device.publish_sample(b"picture").wait(WAIT_S)
        found = collector.next_event(WAIT_S)
        assert found is not None
        assert found.payload == b"picture"
        assert device.publish_event(b"behind it").wait(WAIT_S)
        seen = onlooker.next_event(WAIT_S)
        assert seen is not None
        assert seen.payload == b"behind it"


@pytest.mark.parametrize(
    ("name", "topic"),
    [
        ("onlooker", TOPICS.ask("porch")),
        ("publisher", TOPICS.ask("porch")),
        ("collector", TOPICS.sample("porch")),
        ("porch", TOPICS.sample("attic")),
        ("porch", TOPICS.blob("0" * 64)),
        ("porch", TOPICS.release("birds", "stable")),
        ("porch", TOPICS.reported("attic")),
        ("publisher", TOPICS.reported("porch")),
        ("onlooker", TOPICS.reported("porch")),
        ("onlooker", TOPICS.release("birds", "stable")),
    ],
)
def test_nobody_can_write_what_is_not_theirs(log_in: LogIn, name: str, topic: str) -> None:
    events: SimpleQueue[object] = SimpleQueue()
    with Link(log_in(name), events.put, client_id=name) as link:
        link.connect_or_raise(WAIT_S)
        assert isinstance(events.get(timeout=WAIT_S), Connected)
        receipt = link.publish(topic, b"x", retain=True)
        assert receipt.wait(WAIT_S)
        assert receipt.problem == "not authorized"


def test_a_stranger_gets_no_connection(log_in: LogIn) -> None:
    settings = replace(log_in("porch"), cert_file=None, key_file=None, username=None, password=None)
    with Link(settings, lambda _event: None, client_id="nobody") as link, pytest.raises(LinkError):
        link.connect_or_raise(WAIT_S)


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock().now_s(), UTC)
