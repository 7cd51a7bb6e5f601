"""JSON lines from real processes: through standard input, a named pipe, and a file."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config.row_sources import StdinSource
from edge_agent.errors import SourceError
from edge_agent.inference.frame import Nothing, Wanted
from tests.inference.sources.rows import (
    WAIT_S,
    gaps,
    open_source,
    take_all,
    unusable,
    values,
)

WRITER = "import sys; sys.stdout = open(sys.argv[1], 'w'); [print(line, flush=True) for line in sys.argv[2:]]"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "rows"
    os.mkfifo(path)
    return path


def write_from_a_process(path: Path, *lines: str) -> "subprocess.Popen[bytes]":
    """Another process that writes these lines and ends."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), *lines])


def test_a_file_of_json_lines_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"x": 1, "y": {"z": 2}}\n\n[3]\nbroken\n{"x": 4}\n{"y": {"z": 6}, "x": 5}')
    with open_source(StdinSource("stdin", path)) as source:
        items = take_all(source, ("y.z", "x"))
    assert values(items) == [(2.0, 1.0), (6.0, 5.0)]
    assert gaps(items) == [True, False]
    assert [item.name for item in items] == [f"rows.jsonl:{line}" for line in (1, 3, 4, 5, 6)]
    assert len(unusable(items)) == 3


def test_rows_come_through_a_named_pipe_and_the_end_of_its_writer_is_told(fifo: Path) -> None:
    with open_source(StdinSource("stdin", fifo)) as source:
        writer = write_from_a_process(fifo, '{"x": 1}', '{"x": 2}')
        assert values(take_all(source, at_most=2)) == [(1.0,), (2.0,)]
        assert writer.wait(WAIT_S) == 0
        with pytest.raises(SourceError, match="has closed it") as caught:
            source.take(Wanted())
    assert caught.value.hint


def test_a_pipe_is_heard_again_when_another_writer_comes(fifo: Path) -> None:
    config = StdinSource("stdin", fifo)
    for number in (1.0, 2.0):
        with open_source(config) as source:
            writer = write_from_a_process(fifo, json.dumps({"x": number}))
            items = take_all(source, ("x",), at_most=1)
            assert (values(items), gaps(items)) == ([(number,)], [True])
            assert writer.wait(WAIT_S) == 0
            with pytest.raises(SourceError, match="has closed it"):
                source.take(Wanted(("x",)))


def test_a_pipe_without_a_writer_gives_nothing_for_now_and_no_fault(fifo: Path) -> None:
    with open_source(StdinSource("stdin", fifo)) as source:
        assert source.take(Wanted()) == Nothing()


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_what_cannot_be_opened_is_told_with_a_hint(tmp_path: Path, kind: str) -> None:
    path = tmp_path if kind == "folder" else tmp_path / "rows"
    with pytest.raises(SourceError, match=r"No such file|is a folder") as caught:
        open_source(StdinSource("stdin", path)).__enter__()
    assert caught.value.hint is not None
    assert "mkfifo" in caught.value.hint


FROM_STDIN = """
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.config.row_sources import StdinSource
from edge_agent.inference.frame import Wanted
from edge_agent.inference.sources.source import new_source
with new_source(StdinSource("stdin"), SystemClock()) as source:
    while (item := source.take(Wanted(("x",)))) is not None:
        print(item.name, item.values if hasattr(item, "values") else item.detail)
"""


def test_standard_input_is_read_to_its_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FROM_STDIN], input='{"x": 1}\nnonsense\n{"x": 2}\n', capture_output=True, text=True,
        timeout=WAIT_S, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert [lines[0], lines[2]] == ["stdin:1 (1.0,)", "stdin:3 (2.0,)"]
    assert lines[1].startswith("stdin:2 stdin:2: expected JSON, found 'nonsense'")


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before
