"""Samples on the wire: what is asked for, the parts that each is cut into, and what ends an answer.

A sample travels as one line, what the device said of it, and the bytes of its file; cut in parts, each behind a line
of JSON. The sha-256 over all of it is in each part. Device and laptop share this. Whether anything is sent at all is
left to the device's configuration, where it is put to `converter.fleet`.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edge_agent import schema
from edge_agent.link.messages import MAX_PAYLOAD_BYTES, SCHEMA, MessageError, encode, parse
from edge_agent.release.manifest import DIGEST, IDENTIFIER

MAX_SAMPLE_BYTES = 4_000_000  # a larger one is not sent
PART_BYTES = 56_000  # which leaves room for the line before it
MOST_AT_ONCE = 16  # samples in one answer: then it is asked again
_MOST_PARTS = -(-MAX_SAMPLE_BYTES // PART_BYTES)
_MOST_PIPELINES = 64
_MOST_NAME = 64


@dataclass(frozen=True, slots=True)
class Ask:
    """The newest `most` samples of each pipeline that are later than the one named in `after`, the oldest first."""

    id: str  # the asker's own
    most: int
    after: Mapping[str, str] = field(default_factory=dict)  # by pipeline
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A sample that was not sent, and why."""

    pipeline: str
    name: str
    problem: str


@dataclass(frozen=True, slots=True)
class Answered:
    """The end of an answer."""

    ask: str
    sent: Mapping[str, tuple[str, ...]]  # by pipeline, of each that publishes: names in the order in which they went
    left: Mapping[str, int]  # by pipeline: so many more were asked for
    left_out: tuple[LeftOut, ...] = ()
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True)
class _Head:
    pipeline: str
    name: str
    part: int  # from 0
    parts: int
    digest: str
    schema: int = SCHEMA


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A piece of a sample. Which names are names of samples, whoever writes them somewhere has to look."""

    pipeline: str
    name: str
    part: int
    parts: int
    digest: str
    content: bytes = field(repr=False)


def parts_of(pipeline: str, name: str, line: bytes, content: bytes) -> Iterator[bytes]:
    """The payloads that carry a sample. `line`: what was said of it, JSON on one line, or nothing.

    Raises:
        MessageError: it is too large to be sent.
    """
    whole = line + b"\n" + content
    if len(whole) > MAX_SAMPLE_BYTES:
        raise MessageError(f"{len(whole)} bytes; at most {MAX_SAMPLE_BYTES} are sent of a sample")
    digest = hashlib.sha256(whole).hexdigest()
    pieces = [whole[begin : begin + PART_BYTES] for begin in range(0, len(whole), PART_BYTES)]
    for number, piece in enumerate(pieces):
        head = encode(schema.dump(_Head(pipeline, name, number, len(pieces), digest)), plain_bytes=MAX_PAYLOAD_BYTES)
        yield head + b"\n" + piece


def split_sample(whole: bytes, digest: str) -> tuple[bytes, bytes]:
    """The line and the content, of the parts put together.

    Raises:
        MessageError: other bytes than were sent.
    """
    if hashlib.sha256(whole).hexdigest() != digest:
        raise MessageError("its bytes are not those that were sent: the digest is another")
    line, _, content = whole.partition(b"\n")
    return line, content


def parse_sample(payload: bytes) -> Part | Answered:
    """What a device has sent.

    Raises:
        MessageError: neither.
    """
    head, is_part, content = payload.partition(b"\n")
    if not is_part:
        return _parse_answered(payload)
    found = parse(_Head, head)
    if not IDENTIFIER.fullmatch(found.pipeline) or len(found.name) > _MOST_NAME or not DIGEST.fullmatch(found.digest):
        raise MessageError("a part of a sample without a proper pipeline, name and digest")
    if not 0 <= found.part < found.parts <= _MOST_PARTS or not 0 < len(content) <= PART_BYTES:
        raise MessageError(f"part {found.part} of {found.parts} with {len(content)} bytes: no sample has such a part")
    return Part(found.pipeline, found.name, found.part, found.parts, found.digest, content)


def format_answered(answered: Answered) -> bytes:
    return encode(schema.dump(answered), plain_bytes=MAX_PAYLOAD_BYTES)


def format_ask(ask: Ask) -> bytes:
    return encode(schema.dump(ask), plain_bytes=MAX_PAYLOAD_BYTES)


def parse_ask(payload: bytes) -> Ask:
    """What somebody wants.

    Raises:
        MessageError: it cannot be read.
    """
    ask = parse(Ask, payload)
    if not IDENTIFIER.fullmatch(ask.id) or ask.most < 1 or len(ask.after) > _MOST_PIPELINES:
        raise MessageError("an ask needs an id of a-z, 0-9, _ and -, and `most` of at least 1")
    return ask


def _parse_answered(payload: bytes) -> Answered:
    found = parse(Answered, payload)
    pipelines = {*found.sent, *found.left, *(each.pipeline for each in found.left_out)}
    if len(pipelines) > _MOST_PIPELINES or not all(map(IDENTIFIER.fullmatch, pipelines)):
        raise MessageError(f"an answer of {len(pipelines)} pipelines, or of one without a proper name")
    return found
