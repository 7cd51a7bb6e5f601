"""Sending to a broker, and proof that it has arrived: chunks are read back, documents are awaited.

What is sent is made in `parcel` and `repository`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from converter.broker import Broker
from converter.publish.succession import PublishError
from edge_agent.clock import SystemClock

RIVAL_S = 1.0  # how long after publishing we look for somebody who publishes at the same time
_RETURN_S = 15.0
_RECHECKED = 40  # suspects that are asked for a second time, with more patience

Progress = Callable[[int, int], None]  # bytes acknowledged, bytes to send


@dataclass(frozen=True, slots=True)
class Sent:
    """Chunks on the broker. Bytes as they travel, compressed."""

    chunks: int
    chunks_sent: int
    bytes_sent: int
    bytes_reused: int


def send_chunks(chunks: dict[str, bytes], writer: Broker, reader: Broker, progress: Progress) -> Sent:
    """Send the chunks that the broker lacks, and read them back on the other connection.

    Raises:
        PublishError: some did not come back; says which and how many.
    """
    lacking = reader.read_chunks(list(chunks), grace_s=0)  # a chunk wrongly thought absent is sent once too often
    missing = {digest: payload for digest, payload in chunks.items() if digest in lacking}
    total_bytes = sum(map(len, missing.values()))
    done_bytes = 0

    def count(size_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += size_bytes
        progress(done_bytes, total_bytes)

    writer.publish_chunks(missing.items(), count)
    _read_back(list(missing), reader)
    reused_bytes = sum(len(payload) for digest, payload in chunks.items() if digest not in missing)
    return Sent(len(chunks), len(missing), total_bytes, reused_bytes)


def _read_back(digests: list[str], reader: Broker) -> None:
    """A PUBACK is no proof: below MQTT 5, brokers acknowledge what they then drop."""
    suspects = reader.read_chunks(digests, grace_s=0.1)
    while suspects:
        asked, suspects = suspects[:_RECHECKED], suspects[_RECHECKED:]
        lost = reader.read_chunks(asked, grace_s=1.0)
        if lost:
            names = ", ".join(digest[:12] for digest in lost[:3])
            raise PublishError(
                f"{len(lost) + len(suspects)} of {len(digests)} chunks did not come back from the broker, although it "
                f"acknowledged them: {names}…",
                hint="check its limits (mosquitto: message_size_limit, 61000 is needed), its access list for blob "
                "topics, and how many retained messages it keeps; no device has been told of this release",
            )


def await_documents(reader: Broker, documents: Mapping[str, bytes]) -> None:
    """Wait until our documents have come round (topic to payload), and a little longer for a rival's.

    Raises:
        PublishError: one did not, or somebody else's came.
    """
    clock, missing = SystemClock(), set(documents)
    deadline_s = clock.monotonic_s() + (_RETURN_S if missing else 0.0)
    while (event := reader.next_event(deadline_s - clock.monotonic_s())) is not None:
        if event.topic not in documents:
            continue
        if event.payload != documents[event.topic]:
            raise PublishError(
                "somebody else published another document on this channel at the same time",
                hint="agree on who publishes, then do it again: the last document is the one that counts",
            )
        missing.discard(event.topic)
        if not missing:
            deadline_s = clock.monotonic_s() + RIVAL_S
    if missing:
        raise PublishError(
            "the release document did not come back from the broker",
            hint=f"check that the broker's access list lets this user write and read {min(missing)}",
        )
