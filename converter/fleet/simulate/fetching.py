"""How a simulated device fetches: the index, then the chunks that it does not hold, as `link.download` decides.

Which release, and what becomes of it, is left to `device`.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from converter.fleet.simulate.client import Client
from converter.fleet.simulate.world import World
from edge_agent.errors import ArtifactError, Reason
from edge_agent.link.download import Barrier, Download, Need, Reconnect, Subscribe, Unsubscribe
from edge_agent.link.messages import format_need
from edge_agent.release.chunks import Index
from edge_agent.release.document import Target

After = Callable[[str, float, Callable[[], None]], None]  # a timer's name, its seconds, what is done then


@dataclass(slots=True)
class Tally:
    """What one device has seen of the network."""

    chunks: int = 0
    chunk_bytes: int = 0  # of payloads
    again: int = 0  # chunks that came although they were there
    spoilt: int = 0
    connections: int = 0


class Fetching:
    """Of one device, one release at a time. On the loop's thread."""

    def __init__(
        self,
        device_id: str,
        world: World,
        tally: Tally,
        *,
        after: After,
        held: Callable[[], frozenset[str]],
        done: Callable[[Target], None],
        refused: Callable[[Reason, str], None],
    ) -> None:
        self.chunks: set[str] = set()  # of the release, that are there
        self._id = device_id
        self._world = world
        self._topics = world.topics
        self._tally = tally
        self._after = after
        self._held = held
        self._done = done
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._client: Client | None = None  # while it is connected
        self._target: Target | None = None
        self._index: Index | None = None
        self._fetched: dict[str, bytes] = {}  # of the index
        self._download: Download | None = None
        self._batches: dict[int, int] = {}  # number of a SUBSCRIBE → batch

    def begin(self, target: Target) -> None:
        """`done` or `refused` is called in the end."""
        self._target = target
        self._fetch(set(target.index_chunks))

    def drop(self) -> None:
        """Forget the release."""
        self._leave_download()
        self._target, self._index = None, None
        self._fetched.clear()
        self.chunks.clear()

    # --- what the network says ------------------------------------------------------------------------------

    def connected(self, client: Client) -> None:
        self._client = client
        if self._download is not None:
            self._download.connected(self._loop.time())
            self._act()

    def lost(self) -> None:
        self._client = None
        self._batches.clear()
        if self._download is not None:
            self._download.disconnected()

    def granted(self, number: int, problems: tuple[str | None, ...]) -> None:
        batch = self._batches.pop(number, None)
        if batch is not None and self._download is not None:
            self._download.granted(batch, problems, self._loop.time())
            self._act()

    def echoed(self, payload: bytes) -> None:
        nonce, _, batch = payload.decode("ascii", "replace").partition("-")
        if self._download is not None and nonce == str(id(self._download)) and batch.isdecimal():
            self._download.echoed(int(batch), self._loop.time())
            self._act()

    def arrived(self, digest: str, payload: bytes) -> None:
        download, now_s = self._download, self._loop.time()
        self._tally.chunks += 1
        self._tally.chunk_bytes += len(payload)
        if download is None or not download.arrived(digest, now_s):
            self._tally.again += 1
            return
        try:
            plaintext = self._world.pantry.open(digest, payload)
        except ArtifactError as error:
            self._tally.spoilt += 1
            download.spoilt(digest, error.reason, str(error), now_s)
        else:
            if self._index is None:
                self._fetched[digest] = plaintext
            else:
                self.chunks.add(digest)
            download.taken(digest)
        self._act()
        if download.finished:
            self._fetched_all()

    # --- inside ---------------------------------------------------------------------------------------------

    def _fetch(self, digests: set[str]) -> None:
        self._leave_download()
        self._download = Download(sorted(digests))
        if self._client is not None:
            self._download.connected(self._loop.time())
        self._act()

    def _leave_download(self) -> None:
        if self._download is not None and self._client is not None:
            left = [self._topics.blob(digest) for digest in self._download.leave()]
            if left:
                self._client.unsubscribe(left)
        self._download = None
        self._batches.clear()

    def _fetched_all(self) -> None:
        target = self._target
        assert target is not None
        if self._index is not None:
            self._finish(target)
            return
        try:
            self._index = self._read_index(target)
        except ArtifactError as error:
            self._refused(error.reason, str(error))
            return
        wanted = frozenset(chunk.digest for chunk in self._index.chunks())
        held = self._held()
        self.chunks = set(wanted & held)
        if wanted <= held:
            self._finish(target)
        else:
            self._fetch(set(wanted - held))

    def _finish(self, target: Target) -> None:
        self._leave_download()
        self._done(target)

    def _read_index(self, target: Target) -> Index:
        content = b"".join(self._fetched[digest] for digest in target.index_chunks)
        if hashlib.sha256(content).hexdigest() != target.index:
            raise ArtifactError("the index is not the one that was signed", reason=Reason.INTEGRITY)
        return self._world.pantry.index(target.index, content)

    def _act(self) -> None:
        """Do what the download decides, and come back when it wants to be asked."""
        download = self._download
        if download is None:
            return
        for action in download.step(self._loop.time()):
            if self._client is None:
                continue
            match action:
                case Subscribe(batch, digests):
                    topics = [self._topics.blob(digest) for digest in digests]
                    self._batches[self._client.subscribe(topics, qos=0)] = batch
                case Unsubscribe(digests):
                    self._client.unsubscribe([self._topics.blob(digest) for digest in digests])
                case Barrier(batch):
                    self._client.publish(self._topics.echo(self._id), f"{id(download)}-{batch}".encode())
                case Need(digests):
                    self._client.publish(self._topics.need(self._id), format_need(digests))
                case Reconnect():
                    self._client.abort("cut")
                case _:
                    pass  # troubles are counted as `spoilt`
        wake_s = download.wake_s()
        if wake_s is not None:
            self._after("download", max(0.0, wake_s - self._loop.time()), self._act)
