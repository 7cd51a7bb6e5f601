"""The manifest says what a model is for, and nothing half-true is believed."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.inputs import ImageInput, SignalInput, TensorInput
from edge_agent.release.manifest import Limits, Manifest, format_manifest, parse_manifest
from edge_agent.release.outputs import OutputSpec
from tests.sim.artifact import entry

ENTRY = entry(b"model")
MANIFEST = Manifest("digits", "1.2.0", "classification", ImageInput(), {"model.tflite": ENTRY}, "2026-01-01T00:00:00Z")
TREE: dict[str, Any] = json.loads(format_manifest(MANIFEST))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def parsed(**changes: Any) -> Manifest:
    return parse_manifest(json.dumps({**TREE, **changes}).encode())


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        Manifest(
            "har",
            "2.0.0-rc.1",
            "signal_classification",
            SignalInput(channels=("x", "y"), window=52, stride=26, sample_rate_hz=26.0, mean=(0.0,), std=(9.81,)),
            {"model.tflite": ENTRY, "labels.txt": entry(b"a\nb\n")},
            "2026-01-01T00:00:00Z",
            output=OutputSpec(top_k=3, activation="softmax", score_threshold=0.2),
            limits=Limits(p95_ms=20.0, memory_bytes=10**8),
            provenance={"source": "x", "nested": {"list": [1, 2.5, None, True]}},
        ),
        Manifest("find", "1", "detection", ImageInput(fit="letterbox"), {"model.tflite": ENTRY}, "2026-01-01T00:00:00Z",
                 output=OutputSpec(decoder="ssd_postprocess", output_order=(1, 3, 0, 2))),
        Manifest("sine", "1", "raw", TensorInput(), {"model.tflite": ENTRY}, "2026-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_what_is_written_is_read_again(manifest: Manifest) -> None:
    assert parse_manifest(format_manifest(manifest)) == manifest
    assert format_manifest(parse_manifest(format_manifest(manifest))) == format_manifest(manifest)


def test_it_is_written_without_a_byte_that_no_machine_needs() -> None:
    written = format_manifest(MANIFEST)
    assert written == json.dumps(json.loads(written), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_what_a_newer_converter_adds_is_passed_over() -> None:
    assert parsed(novelty={"a": 1}, input={**TREE["input"], "gamma": 2.2}) == MANIFEST


def test_a_newer_schema_is_incompatible_and_not_broken() -> None:
    with pytest.raises(ArtifactError, match="schema 2") as caught:
        parsed(schema=2)
    assert caught.value.reason is Reason.INCOMPATIBLE
    assert caught.value.hint


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ArtifactError) as caught:
        parsed(task="clasification", input={"kind": "image", "fit": "squash", "mean": ["x"]}, created=7)
    message = str(caught.value)
    assert caught.value.reason is Reason.BAD_MANIFEST
    for part in ("task", "did you mean 'classification'", "input.fit", "input.mean[0]", "created"):
        assert part in message


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Digits"},
        {"name": "a b"},
        {"name": ""},
        {"name": "x" * 65},
        {"version": "../1"},
        {"version": ""},
        {"files": {}},
        {"files": {"model.tflite": {"sha256": "ABC", "size_bytes": 1}}},
        {"files": {"model.tflite": {"sha256": "0" * 64, "size_bytes": -1}}},
        {"files": {**TREE["files"], "../etc/passwd": {"sha256": "0" * 64, "size_bytes": 1}}},
        {"input": {"kind": "image", "mean": [1.0]}},
        {"input": {"kind": "image", "mean": [1.0], "std": [0]}},
        {"input": {"kind": "image", "mean": [1e999], "std": [1]}},
        {"input": {"kind": "image", "mean": [0], "std": [float("nan")]}},
        {"input": {"kind": "signal", "window": 0}},
        {"input": {"kind": "signal", "mean": [10**400], "std": [1]}},
        {"input": {"kind": "sound"}},
        {"input": {}},
        {"input": None},
        {"output": {"top_k": 0}},
        {"output": {"top_k": True}},
        {"output": {"output_order": [0, -1]}},
        {"output": {"threshold": 0}},
        {"output": {"scale": float("nan")}},
        {"limits": {"p95_ms": "fast"}},
        {"schema": "1"},
        {"task": ["raw"]},
        {"task": {}},
    ],
)
def test_what_is_wrong_in_a_manifest_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError) as caught:
        parsed(**changes)
    assert caught.value.reason is Reason.BAD_MANIFEST


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b"{}"])
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        parse_manifest(content)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_value_anywhere_gives_a_manifest_or_an_artifact_error(data: st.DataObject) -> None:
    tree = json.loads(json.dumps(TREE))
    for _ in range(data.draw(st.integers(1, 3))):
        place = tree
        while (key := data.draw(st.sampled_from(sorted(place)))) and isinstance(place[key], dict) and place[key]:
            if data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(json_values)
    try:
        found = parse_manifest(json.dumps(tree).encode())
    except ArtifactError:
        return
    assert parse_manifest(format_manifest(found)) == found


@given(st.binary(max_size=100))
def test_any_bytes_give_an_artifact_error(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse_manifest(content)
