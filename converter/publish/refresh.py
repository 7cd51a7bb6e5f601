"""Signing again what the channels hold: stamps that are about to expire, and everything after keys have changed.

What is signed again is what is there, so it must have been signed by keys that nobody else has. The signing is left to
`repository`.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from converter.broker import Broker
from converter.publish import repository
from converter.publish.inventory import lost_blobs
from converter.publish.keys import Keys
from converter.publish.pending import PendingRelease, document_of, pend_document
from converter.publish.push import Pend
from converter.publish.sending import await_documents
from converter.publish.succession import PublishError
from edge_agent.errors import InputError, TrustError
from edge_agent.link.topics import Topics

State = Literal["fresh", "signed", "pending", "revoked", "refused"]


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of one channel."""

    model: str
    channel: str
    state: State
    detail: str
    version: str | None = None
    digest: str | None = None


def refresh(
    keys: Keys,
    connect: Callable[[], Broker],
    channels: Sequence[tuple[str, str]],
    *,
    now: datetime,
    pend: Pend,
    believe_revoked: bool = False,
) -> list[Refreshed]:
    """Sign again what is due on `channels` (model, channel); on all that the broker tells of where there are none.

    Raises:
        LinkError: the broker cannot be reached, or was lost.
        PublishError: what was signed again did not come back.
    """
    with ExitStack() as parts:
        writer, reader = parts.enter_context(connect()), parts.enter_context(connect())
        writer.check_can_publish()
        topics = reader.topics
        found = reader.retained([topics.release(*names) for names in channels] or [topics.release("+", "+")])
        reports, documents = [], {}
        for topic, payload in sorted(found.items()):
            report, document = _refreshed(
                keys, payload, _names(topics, topic), now, pend=pend, believe_revoked=believe_revoked
            )
            reports.append(report)
            if document is not None:
                writer.publish_retained(topic, document)
                documents[topic] = document
        await_documents(reader, documents)
    here = {(report.model, report.channel) for report in reports}
    reports += [
        Refreshed(model, channel, "refused", "there is no release on it")
        for model, channel in channels
        if (model, channel) not in here
    ]
    return reports


def publish_pending(pending: PendingRelease, keys: Keys, connect: Callable[[], Broker], now: datetime) -> int:
    """Publish a document that the last signature has completed; returns its number.

    Raises:
        PublishError: signatures are lacking, somebody has published since, or the release itself is not on the broker.
        LinkError, TrustError: as `push`.
    """
    lacking = pending.lacking(keys)
    if lacking is not None:
        raise PublishError(
            f"{lacking.signatures} more signatures of {lacking.job} keys are needed",
            hint=f"one of these signs next, with 'edgectl sign': {', '.join(keyid[:8] for keyid in lacking.keyids)}",
        )
    target = pending.target
    document = document_of(pending, keys, now)
    repository.read_document(keys, document, model=target.model, channel=target.channel)
    with ExitStack() as parts:
        writer, reader = parts.enter_context(connect()), parts.enter_context(connect())
        writer.check_can_publish()
        topic = reader.topics.release(target.model, target.channel)
        payload = reader.retained([topic]).get(topic)
        if payload is not None and payload != document:
            there = repository.read_document(keys, payload, model=target.model, channel=target.channel)
            if there.number >= pending.number:
                raise PublishError(
                    f"since this was made, somebody has published document {there.number}, "
                    f"{there.target.model} {there.target.version}; this one has number {pending.number}",
                    hint="agree on what the channel is to have, then push it again",
                )
        lost = lost_blobs(target, reader)
        if lost:
            raise PublishError(
                f"the broker has lost {len(lost)} chunks of {target.model} {target.version}, which this document is "
                "about",
                hint="give it back with 'edgectl seed FILE', then publish again",
            )
        writer.publish_retained(topic, document)
        await_documents(reader, {topic: document})
    return pending.number


def _refreshed(
    keys: Keys,
    payload: bytes,
    names: tuple[str, str],
    now: datetime,
    *,
    pend: Pend,
    believe_revoked: bool,
) -> tuple[Refreshed, bytes | None]:
    model, channel = names
    try:
        there = repository.read_document(keys, payload, model=model, channel=channel)
        target = there.target
        said = (target.version, target.digest)
        if there.revoked and not believe_revoked:
            who = ", ".join(keyid[:8] for keyid in there.revoked)
            detail = f"signed by revoked key {who}: push what the channel is to have, or see --believe-revoked"
            return Refreshed(model, channel, "revoked", detail, *said), None
        if not there.is_due(now):
            detail = f"fresh until {there.expires:%Y-%m-%d}"
            return Refreshed(model, channel, "fresh", detail, *said), None
        now = there.now(now)
        number = repository.next_number(there, now)
        document = repository.restamp_document(keys, payload, target, number, now)
        pending = pend_document(keys, document, number)
        if pending is not None:
            return Refreshed(model, channel, "pending", f"lacks signatures: {pend(pending)}", *said), None
    except (TrustError, InputError) as error:  # the other channels are not to wait for this one
        return Refreshed(model, channel, "refused", str(error)), None
    except ValueError as error:
        return Refreshed(model, channel, "refused", f"the document cannot be used: {error}"), None
    return Refreshed(model, channel, "signed", f"document {number}", *said), document


def _names(topics: Topics, topic: str) -> tuple[str, str]:
    model, _, channel = topic.removeprefix(topics.release("", "").removesuffix("/")).partition("/")
    return model, channel
