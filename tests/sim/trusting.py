"""A device that hears release documents, with its real memory on a simulated disk; and documents to tell it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from converter.publish.keys import Keys
from converter.publish.repository import sign_document
from edge_agent.disk import Disk
from edge_agent.errors import Reason, TrustError
from edge_agent.release import verify_child
from edge_agent.release.document import Target, format_document, parse_document
from edge_agent.release.trust import verify
from edge_agent.service.trusted import FLOOR_FILE, Channel, Trusted
from tests.sim.clock import FakeClock
from tests.sim.disk import SimDisk

NOW = datetime(2026, 11, 21, tzinfo=UTC)
STABLE = Channel("m", "stable")


def ask_here(request: dict[str, Any]) -> dict[str, Any]:
    """The child's work in this process, a fifth of the time: in place of `trust._ask_child`."""
    return verify_child.answer(json.loads(json.dumps(request)))


def target(version: str = "1", *, model: str = "m", channel: str = "stable", **more: Any) -> Target:
    """`version` is a hexadecimal digit, which the digest is made of."""
    return Target(
        **{
            "model": model, "channel": channel, "version": version, "digest": version * 64, "size_bytes": 10,
            "index": "e" * 64, "index_chunks": ("f" * 64,), "created": "2026-11-21T00:00:00+00:00", **more
        }
    )  # fmt: skip


def document(keys: Keys, version: str, number: int, now: datetime = NOW, **more: Any) -> bytes:
    return sign_document(keys, target(version, **more), number, now)


def mixed(content: bytes, **files: str | None) -> bytes:
    """A document with files put in, or taken out (None)."""
    tree = {**parse_document(content), **files}
    return format_document({name: text for name, text in tree.items() if text is not None})


def part(content: bytes, name: str) -> str:
    return parse_document(content)[name]


class Device:
    """What `service.trusted` remembers of one device, and the clock that it has."""

    def __init__(
        self,
        root: bytes,
        *,
        now: datetime = NOW,
        device_class: str = "",
        disk: SimDisk | None = None,
        durable: type[Disk] = Disk,
    ) -> None:
        self.root = root
        self.durable = durable
        self.disk = disk or SimDisk()
        self.clock = FakeClock(now.timestamp())
        self.synchronized = True
        self.device_class = device_class
        self.restart()

    def restart(self, disk: SimDisk | None = None) -> Target | None:
        """What it remembers of the channel."""
        self.disk = disk or self.disk
        self.trusted = Trusted(
            self.durable(self.disk), self.root, self.clock, verify,
            device_class=self.device_class, is_synchronized=lambda: self.synchronized,
        )  # fmt: skip
        return self.trusted.recall(STABLE)

    def hear(self, content: bytes, channel: Channel = STABLE) -> Target:
        return self.trusted.believe(channel, content).target

    def refuses(self, content: bytes, channel: Channel = STABLE) -> Reason:
        """Why; and that this has changed nothing of what it trusts."""
        before = self.remembers()
        with pytest.raises(TrustError) as caught:
            self.hear(content, channel)
        assert self.remembers() == before
        assert caught.value.hint
        return caught.value.reason

    def remembers(self) -> dict[str, bytes]:
        """Every file that trust is kept in."""
        disk = Disk(self.disk)
        return {name: disk.read(f"trust/{name}") for name in disk.names("trust")}

    def floor_s(self) -> float:
        """As it is on the disk."""
        return float(json.loads(Disk(self.disk).read(FLOOR_FILE))["signed_s"])
