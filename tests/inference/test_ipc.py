"""What supervisor and worker say survives the socket, and nonsense is an error of ours."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.config.pipeline import Crops, Delegate
from edge_agent.config.sinks import SamplesSink, When
from edge_agent.config.sources import CameraSource, FolderSource, MotionGate
from edge_agent.errors import Reason
from edge_agent.inference.ipc import (
    Answer,
    EndShadow,
    Figures,
    FrameFailed,
    Load,
    Notice,
    Order,
    Result,
    SamplesLost,
    Serving,
    Shadow,
    Shadowed,
    Snapshot,
    SnapshotWritten,
    StageStart,
    Start,
    Stop,
    Unload,
    Word,
    format_line,
    parse_order,
    parse_word,
)
from edge_agent.schema import SchemaError

RESULT = Result(
    7,
    1_750_000_000.25,
    "größe.jpg",
    {
        "find": Answer("a" * 64, "detection", ({"label": "bird", "index": 1, "score": 0.5},), {"invoke": 2.5}),
        "name": Answer("b" * 64, "classification", (), {}),
    },
    0.125,
)


@pytest.mark.parametrize(
    "order",
    [
        Start("p", CameraSource("camera", motion=MotionGate(), roi=(0.0, 0.0, 0.5, 1.0)), {"main": StageStart()}),
        Start(
            "p",
            FolderSource("folder", "/x"),  # type: ignore[arg-type]  # a path, once it is read
            {
                "a": StageStart("/r", "a" * 64, "auto", delegate=Delegate("libx.so", {"k": "v"})),
                "b": StageStart(crops_of="a", crops=Crops(("x",))),
            },
        ),
        Start(
            "p",
            FolderSource("folder", "/x"),  # type: ignore[arg-type]  # a path, once it is read
            {"main": StageStart()},
            samples=SamplesSink("samples", Path("/s"), when=When(label=("cat",), for_s=2.0), score_below=0.5),
        ),
        Load("main", "/r", "a" * 64),
        Unload("main"),
        Shadow("main", "/r", "a" * 64, 0.1, 100),
        EndShadow("main"),
        Snapshot(3, "/tmp/x.jpg"),
        Stop(),
    ],
)  # fmt: skip
def test_orders_are_read_as_they_were_given(order: Order) -> None:
    line = format_line(order)
    assert line.endswith(b"\n")
    assert format_line(parse_order(line)) == line


@pytest.mark.parametrize(
    "word",
    [
        RESULT,
        Serving("main", "a" * 64, "lib 1", delegated=True, threads=2, delegate="x", fell_back="why"),
        FrameFailed("", "", "a.jpg", of_model=False, detail="no"),
        Figures("main", 1, 2, 2, 3, 4, {"invoke": {"3": 4}}, {"invoke": 2.0}, "a"),
        Shadowed("main", "a" * 64, 20, 19, over=True, reason=Reason.PROBE_CRASHED, problem="SIGSEGV"),
        SnapshotWritten(3, "/x.jpg", "disk full"),
        SamplesLost(2, "the disk is full"),
        Notice("fell back", "install it", "main"),
    ],
)
def test_words_are_read_as_they_were_said(word: Word) -> None:
    assert parse_word(format_line(word)) == word


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(["seq", "captured_s", "input", "answers", "capture_ms", "find", "digest", "results", "latency_ms"]),
)
def test_a_damaged_result_is_read_or_refused_and_nothing_else(value: object, key: str) -> None:
    tree = json.loads(format_line(RESULT))
    for place in (tree, tree["answers"], tree["answers"]["find"]):
        if key in place:
            place[key] = value
            break
    with suppress(SchemaError, ValueError):
        parse_word(json.dumps(tree).encode())
