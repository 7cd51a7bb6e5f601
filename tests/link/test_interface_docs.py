"""docs/mqtt-interface.md says what the code does."""

import json
import re
from dataclasses import fields
from pathlib import Path

from edge_agent.config.agent import MqttConfig
from edge_agent.errors import Reason
from edge_agent.inference.samples.folder import SUFFIXES
from edge_agent.inference.sinks.tree import ResultFormat
from edge_agent.inference.triggers.firing import Firing
from edge_agent.inference.triggers.snapshots import SnapshotFolder
from edge_agent.link import download, https, messages, pack_readers, ranges, samples, transports
from edge_agent.link.topics import MAX_FILTERS, Topics
from edge_agent.release.chunks import CHUNK_BYTES
from edge_agent.release.document import MAX_SOURCES, Custom, Lifts
from edge_agent.release.pack_file import MAX_CHUNKS
from edge_agent.release.rollout import Rollout
from edge_agent.service import sampling
from edge_agent.update.eligibility import HoldReason
from tests.sim.results import answer, found, staged

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGE = (DOCS / "mqtt-interface.md").read_text(encoding="utf-8")


def test_every_topic_is_in_the_table_and_no_other() -> None:
    topics = Topics()
    made = {
        topics.release("<model>", "<channel>"), topics.blob("<sha256>"), topics.result("<id>", "<pipeline>"),
        topics.trigger("<id>", "<name>"), topics.catalog(),
        *(make("<id>") for make in (
            topics.availability, topics.reported, topics.telemetry, topics.event, topics.echo, topics.need, topics.ack,
            topics.bench, topics.sample, topics.ask,
        )),
    }  # fmt: skip
    assert set(re.findall(r"^\| `(\S+)` \|", PAGE, re.MULTILINE)) == made


def test_every_reason_is_listed() -> None:
    listed = re.search(r"`reason` is one of: (.*)\.$", PAGE, re.MULTILINE)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == [reason.value for reason in Reason]


def test_every_reason_to_hold_is_listed() -> None:
    listed = re.search(r"`held` is .*? its `reason` is (.*?)\. A document", PAGE, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == [reason.value for reason in HoldReason]


def test_every_example_is_read_without_a_field_that_nobody_knows() -> None:
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    custom, need, _, reported, bench, telemetry, event, _, _, _, ack, ask, head, answered = examples
    assert set(custom) == {field.name for field in fields(Custom)}
    assert set(custom["rollout"]) == {field.name for field in fields(Rollout)}
    assert set(custom["lifts"]) == {field.name for field in fields(Lifts)}
    assert set(need) == set(messages.decode(messages.format_need(())))
    encoded = [json.dumps(tree).encode() for tree in (reported, telemetry, event, ack)]
    assert messages.decode(messages.format_reported(messages.parse_reported(encoded[0]))) == reported
    bench_report = messages.parse_bench(json.dumps(bench).encode())
    assert messages.decode(messages.format_bench(bench_report)) == bench
    assert messages.decode(messages.format_telemetry(messages.parse_telemetry(encoded[1]))) == telemetry
    assert messages.decode(messages.format_event(messages.parse_event(encoded[2]))) == event
    assert messages.decode(messages.format_ack(messages.parse_ack(encoded[3]))) == ack
    assert messages.decode(samples.format_ask(samples.parse_ask(json.dumps(ask).encode()))) == ask
    (payload,) = samples.parts_of("birds", "x", b"", b"")
    assert set(head) == set(json.loads(payload.partition(b"\n")[0]))
    end = samples.parse_sample(json.dumps(answered).encode())
    assert isinstance(end, samples.Answered)
    assert messages.decode(samples.format_answered(end)) == answered


def test_the_examples_of_results_are_what_the_code_makes_of_them() -> None:
    flat, several, fired = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)][7:10]
    inner = {"label": "tit", "index": 3, "score": 0.8}
    version_of = {"<sha256>": "1.2.0"}.get
    one = staged({"main": answer(found("bird"), task="detection", digest="<sha256>")})
    assert ResultFormat("birds", ("main",), version_of).tree(one) == flat
    both = {
        "find": answer(found("bird", stages={"name": [inner]}), task="detection", digest="<sha256>"),
        "name": answer(inner, digest="<sha256>"),
    }
    assert ResultFormat("birds", ("find", "name"), version_of).tree(staged(both)) == several
    matches = ({"stage": "main", **found("person")},)
    firing = Firing("visitor", "porch", staged(both, seq=5), 2.0, matches, Path(fired["snapshot"]))
    assert json.loads(firing.text()) == fired
    assert SnapshotFolder("visitor", Path(fired["snapshot"]).parent, 1).path_for(firing.result) == firing.snapshot


def test_the_numbers_are_those_of_the_code() -> None:
    config = MqttConfig("mqtt://x")
    said = {
        f"prefix, `{config.prefix}`", f"keepalive {config.keepalive_s} s", f"at most {config.fetch_window} chunks",
        f"at most {MAX_FILTERS} topics", f"{download.BARRIER_AFTER_S} s after", f"{CHUNK_BYTES:,} bytes from",
        f"{download.GRACE_S:.0f} s after the nonce", f"comes for {download.STALL_S:.0f} s",
        f"at most {pack_readers.CONNECTIONS} connections", f"at most {ranges.MAX_REDIRECTS} redirects",
        f"at most {pack_readers.RUN_BYTES:,} bytes", f"({pack_readers.FIRST_BYTES:,} bytes",
        f"at most {MAX_CHUNKS:,} chunks", f"{ranges.TIMEOUT_S:.0f} s without a byte",
        f"{https.CHUNK_S:.0f} s for a chunk", f"alone for {transports.REST_S:.0f} s",
        f"brought nothing for {transports.PATIENCE_S:.0f} s", f"(at most {MAX_SOURCES})",
        f"at most {messages.MAX_PACKET_BYTES:,} bytes", f"at most {messages.MAX_NEED}",
        f"at most {samples.MOST_AT_ONCE} samples and about {samples.MAX_SAMPLE_BYTES:,} bytes",
        f"more than {samples.MAX_SAMPLE_BYTES:,} bytes is never sent", f"cut into {samples.PART_BYTES:,} bytes",
        f"; {sampling._WAITING} may wait", ", ".join(f"`{suffix}`" for suffix in SUFFIXES[:-1]),
        f"larger than\n{messages.MAX_PAYLOAD_BYTES:,} bytes",
    }  # fmt: skip
    assert {words for words in said if words not in PAGE} == set()
