"""What all simulated devices of one run share: where the broker is, what they follow, how they behave.

Devices of one fleet judge the same documents and open the same chunks, so each is judged and opened once and
remembered: by all of its bytes, so that a payload which differs in one of them is judged by itself.
"""

import asyncio
import hashlib
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.clock import SystemClock
from edge_agent.errors import EdgeError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.topics import Topics
from edge_agent.release.chunks import Index, parse_index, unpack
from edge_agent.release.trust import Verified, verify

if TYPE_CHECKING:
    from converter.fleet.simulate.device import Device

_CONNECTING = 100  # at once; a listener's backlog is 100 to 128


@dataclass(frozen=True, slots=True)
class Behavior:
    """What is not real about a simulated device."""

    probe_s: float = 0.0
    trial_s: float = 0.0
    fail_share: float = (
        0.0  # of the devices, whose trial of a release fails; which ones differs from release to release
    )

    def fails(self, device: str, digest: str) -> bool:
        return random.Random(f"{device} {digest}").random() < self.fail_share  # noqa: S311  # no secret


class Pantry:
    """Chunks and indexes that have been opened before."""

    def __init__(self) -> None:
        self._chunks: dict[str, tuple[bytes, bytes]] = {}  # digest → payload, plaintext
        self._indexes: dict[str, Index] = {}

    def open(self, digest: str, payload: bytes) -> bytes:
        """`chunks.unpack`, once for each payload.

        Raises:
            ArtifactError: it is not this chunk.
        """
        known = self._chunks.get(digest)
        if known is not None and known[0] == payload:
            return known[1]
        plaintext = unpack(payload, digest)
        self._chunks[digest] = (payload, plaintext)
        return plaintext

    def index(self, digest: str, content: bytes) -> Index:
        """`chunks.parse_index` of what has this digest, once.

        Raises:
            ArtifactError: it describes no artifact.
        """
        if digest not in self._indexes:
            self._indexes[digest] = parse_index(content)
        return self._indexes[digest]


class Verifier:
    """`trust.verify`, once for each document and state of trust; in a child process, off the loop."""

    def __init__(self, root: bytes, model: str, channel: str) -> None:
        self._root, self._model, self._channel = root, model, channel
        self._known: dict[bytes, asyncio.Future[Verified]] = {}
        self._clock = SystemClock()

    async def verify(self, payload: bytes, trusted: bytes | None) -> Verified:
        """What the document says, if it is believed.

        Raises:
            TrustError: the document is not believed.
            ConfigError: the root is none.
        """
        key = hashlib.sha256(payload).digest() + hashlib.sha256(trusted or b"").digest()
        if key not in self._known:
            loop = asyncio.get_running_loop()
            self._known[key] = loop.create_future()
            try:
                found = await asyncio.to_thread(self._ask, payload, trusted)
            except EdgeError as error:
                self._known[key].set_exception(error)
            else:
                self._known[key].set_result(found)
        return await asyncio.shield(self._known[key])

    def _ask(self, payload: bytes, trusted: bytes | None) -> Verified:
        now_s = self._clock.now_s()
        return verify(self._root, trusted, payload, model=self._model, channel=self._channel, now_s=now_s, floor_s=0.0)


@dataclass(slots=True)
class World:
    settings: BrokerSettings
    topics: Topics
    model: str
    channel: str
    verifier: Verifier
    behavior: Behavior = field(default_factory=Behavior)
    tls: ssl.SSLContext | None = None
    changed: "Callable[[Device], None]" = lambda _: None  # a device has settled, or wants something else
    tell: Callable[[str, str], None] = lambda *_: None  # a device lost its connection, and why
    pantry: Pantry = field(default_factory=Pantry)
    connecting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONNECTING))
