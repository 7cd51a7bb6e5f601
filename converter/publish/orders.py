"""Orders to a fleet: documents that change what is said of a channel's release, and not one byte of it.

What they say is left to `succession`; sending artifacts, to `push`.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from converter.broker import Broker
from converter.fleet.devices import look
from converter.publish import repository, succession
from converter.publish.inventory import lost_blobs
from converter.publish.keys import Keys
from converter.publish.parcel import wrap
from converter.publish.push import Pend, announce, read_published
from converter.publish.repository import Published
from converter.publish.seals import ReleaseSeal
from converter.publish.sending import Progress, send_chunks
from converter.publish.succession import PublishError
from edge_agent.errors import InputError
from edge_agent.release.archive import Artifact
from edge_agent.release.document import Target

Change = Callable[[Published, int], Target]  # what is there and the next number → what is to be signed


@dataclass(frozen=True, slots=True)
class Ordered:
    """What the channel gives after an order."""

    target: Target
    document: int  # its number
    published: bool  # False: it said that already, or others must sign it first
    pending: str | None = None  # where it waits for signatures of others

    @property
    def what_to_do(self) -> str:
        """Of an order that is pending."""
        return f"others must sign it (edgectl sign {self.pending}), then: edgectl push --pending {self.pending}"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An order that others must sign."""

    where: str
    target: Target
    document: int


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who gives orders on a channel, with what keys, over which broker."""

    model: str
    channel: str
    keys: Keys
    connect: Callable[[], Broker]
    pend: Pend | None = None  # keeps what others must sign, too
    waiting: Callable[[Target], Sequence[Waiting]] = lambda _: ()  # what of it is there already, for such a target
    seal_of: Callable[[str], ReleaseSeal | None] = lambda _: None  # of an artifact's digest, where it was encrypted

    def read(self, broker: Broker) -> Published:
        """What the channel gives; the connection goes on listening to its topic.

        Raises:
            PublishError: it gives nothing.
            TrustError: it was not signed by these keys.
        """
        topic = broker.topics.release(self.model, self.channel)
        there = read_published(broker.retained([topic]).get(topic), self.keys, self.model, self.channel)
        if there is None:
            raise PublishError(
                f"nothing is published for {self.model} on {self.channel}",
                hint="check the model's name and --channel; edgectl push publishes a release",
            )
        return there

    def amend(self, change: Change, now: datetime) -> Ordered:
        """Sign the next document of the channel and publish it, unless `change` changes nothing.

        Raises:
            LinkError: the broker cannot be reached, refuses something, or was lost.
            TrustError: what is published there is not signed by these keys.
            PublishError: there is nothing to change, it did not come back, or somebody else published at the same time.
        """
        with ExitStack() as parts:
            writer, reader = parts.enter_context(self.connect()), parts.enter_context(self.connect())
            return self._publish(writer, reader, change, now)

    def revert(
        self,
        now: datetime,
        *,
        to: str | None = None,
        artifact: Artifact | None = None,
        progress: Progress = lambda *_: None,
    ) -> Ordered:
        """Order the fleet back to an earlier release: `artifact`, or one that the document knows, `to` or the last one.

        The order is signed only once every chunk of that release is on the broker.

        Raises:
            LinkError, TrustError, PublishError: as for `amend`; the release is not known, or the broker has lost it.
        """
        with ExitStack() as parts:
            writer, reader = parts.enter_context(self.connect()), parts.enter_context(self.connect())
            there = self.read(reader)
            if artifact is not None:
                self._check_artifact(artifact, to)
                seal, known = self.seal_of(artifact.digest), succession.earlier(there.target, artifact.digest)
                parcel = wrap(artifact, self.channel, now, seal=seal)
                back = known or parcel.target
                if (back.keyring or there.target.keyring) and seal is None:
                    raise PublishError(
                        f"the releases of {self.model} on {self.channel} are encrypted, and the content key of "
                        f"{artifact.manifest.version} is not here",
                        hint="pass --keys with the directory of the laptop that pushed it",
                    )
                send_chunks(parcel.chunks, writer, reader, progress)
            else:
                back = _known(there.target, to, reader)
                _check_chunks(back, reader)
            return self._publish(writer, reader, lambda before, _: succession.revert(before, back, now), now)

    def _publish(self, writer: Broker, reader: Broker, change: Change, now: datetime) -> Ordered:
        writer.check_can_publish()
        there = self.read(reader)  # now, and not before chunks travelled
        now = there.now(now)
        number = repository.next_number(there, now)
        target = change(there, number)
        if target == there.target:
            return Ordered(target, there.number, published=False)
        for each in self.waiting(target):
            if each.document > there.number and succession.is_same_order(each.target, target):
                return Ordered(each.target, each.document, published=False, pending=each.where)
        pending = announce(writer, reader, self.keys, target, number, now, self.pend)
        return Ordered(target, number, published=pending is None, pending=pending)

    def _check_artifact(self, artifact: Artifact, to: str | None) -> None:
        name, version = artifact.manifest.name, artifact.manifest.version
        if name != self.model or to not in (None, version):
            raise InputError(
                f"{artifact.path} is {name} {version}, not {self.model} {to or ''}".rstrip(),
                hint="pass the file of the release to go back to",
            )


def _known(target: Target, to: str | None, reader: Broker) -> Target:
    found = succession.earlier(target, to)
    if found is not None:
        return found
    known = ", ".join(f"{each.version} ({each.digest[:12]})" for each in target.previous) or "none"
    raise PublishError(
        f"{target.model}/{target.channel}: the release {to or f'before {target.version}'} is not known. "
        f"The document knows: {known}. Devices have: {_on_devices(target, reader)}",
        hint="pass --to with one that the document knows, or its file with --artifact",
    )


def _on_devices(target: Target, reader: Broker) -> str:
    stages = [
        stage
        for device in look(reader)
        for stages in (device.reported.pipelines.values() if device.reported else ())
        for stage in stages.values()
        if (stage.model, stage.channel) == (target.model, target.channel)
    ]
    versions = {each.version for stage in stages for each in (stage.current, stage.previous) if each and each.version}
    return ", ".join(sorted(versions)) or "none"


def _check_chunks(target: Target, reader: Broker) -> None:
    """Whether devices that no longer have this release can fetch it."""
    lost = lost_blobs(target, reader)
    if lost:
        raise PublishError(
            f"{len(lost)} chunks of {target.model} {target.version} are no longer on the broker: devices that have "
            "given it up could not come back to it",
            hint="pass its file, which is sent again: --artifact FILE",
        )
