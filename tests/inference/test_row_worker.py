"""Rows through a real worker: a topic of a real broker, a named pipe, and an end that does not wait for either."""

import json
import os
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.pipeline import PipelineConfig, StageConfig
from edge_agent.config.row_sources import CsvSource, StdinSource, TopicSource
from edge_agent.inference.ipc import Feed, FeedTrouble, FrameFailed, Result, Serving, SourceTrouble, StageStart, Start
from edge_agent.inference.process import WorkerProcess
from edge_agent.inference.server import PipelineServer
from edge_agent.link.subscription import Subscription
from edge_agent.release.inputs import TensorInput
from tests.inference.releases import WAIT_S, Words, linescan_release
from tests.sim.artifact import make_members, unpack
from tests.sim.broker import Mosquitto

OLD, NEW = "a" * 64, "b" * 64
ROWS = [json.dumps({f"diode_{number}": number * row for number in range(8)}) for row in range(16)]


class Running:
    def __init__(self, source: StdinSource | TopicSource, release: Path) -> None:
        self.words = Words()
        self.process = WorkerProcess(
            Start("lines", source, {"main": StageStart(str(release), "a" * 64)}), self.words.say, lambda _: None
        )
        self.words.until(Serving)

    def stop_s(self) -> float:
        """End it; how long that took."""
        clock = SystemClock()
        began_s = clock.monotonic_s()
        assert self.process.stop(WAIT_S) == 0
        return clock.monotonic_s() - began_s


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return linescan_release(tmp_path / "release")


def test_windows_come_from_a_topic_of_a_real_broker(release: Path, mosquitto: Mosquitto) -> None:
    running = Running(TopicSource("topic", "sensors/line"), release)
    heard = Event()

    def forward(order: Feed | FeedTrouble) -> None:
        running.process.feed(order)
        heard.set()

    publish = ["mosquitto_pub", "-p", str(mosquitto.port), "-t", "sensors/line", "-q", "1"]
    with Subscription(mosquitto.settings, "sensors/line", forward, client_id="a", backoff_s=(0.02, 0.2)):
        subprocess.run([*publish, "-r", "-m", ROWS[0]], check=True, timeout=WAIT_S)  # heard whenever we begin to listen
        assert heard.wait(WAIT_S)
        subprocess.run([*publish, "-l"], input="\n".join(ROWS), text=True, check=True, timeout=WAIT_S)
        running.words.until(Result)  # of a live source, one of two windows may be dropped
        mosquitto.stop()
        assert "was lost" in running.words.until(SourceTrouble).detail
    assert running.stop_s() < 3


def test_windows_come_through_a_named_pipe_and_the_end_does_not_wait_for_it(release: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "rows"
    os.mkfifo(fifo)
    running = Running(StdinSource("stdin", fifo), release)
    with fifo.open("w") as writer:
        writer.write("\n".join(ROWS) + "\n")
        writer.flush()
        running.words.until(Result, count=2)
    assert "has closed it" in running.words.until(SourceTrouble).detail
    with fifo.open("w") as writer:
        writer.write("\n".join(ROWS[:8]) + "\n")
        writer.flush()
        running.words.until(Result)
        assert running.stop_s() < 3


def test_a_worker_that_hangs_holds_nobody_up_and_learns_what_it_has_lost(release: Path) -> None:
    running = Running(TopicSource("topic", "t"), release)
    os.kill(running.process.pid, signal.SIGSTOP)
    for size in (10, 1_000, 64_000) * 300:
        running.process.feed(Feed("t", ROWS[1] + " " * size))
    os.kill(running.process.pid, signal.SIGCONT)
    running.words.until(FrameFailed)  # one was too long: it hears again
    for row in ROWS:
        running.process.feed(Feed("t", row))
    running.words.until(Result)
    assert running.stop_s() < 3


def test_a_model_that_remembers_begins_anew_with_each_switch(tmp_path: Path) -> None:
    """On trial with an empty memory; and so does the one before, when it is rolled back."""
    content = (Path(__file__).parent / "models" / "running_sum.tflite").read_bytes()
    state: dict[str, Any] = {"signature": "step", "state": {"next_sum": "sum"}, "constants": {"gain": 10.0}}
    members = make_members(content, task="raw", source=TensorInput(), **state)
    old, new = unpack(members, tmp_path / OLD), unpack(members, tmp_path / NEW)
    lines = tmp_path / "ones.csv"
    lines.write_text("x,y\n" + "1,1\n" * 50_000)
    source = CsvSource("csv", lines, repeat=True, rate_hz=200.0)
    words = Words()
    with PipelineServer("sums", PipelineConfig(source, {"main": StageConfig("sum")}), words.say) as server:
        for digest, directory in ((OLD, old), (NEW, new), (OLD, old)):
            server.stages["main"].serve(digest, directory)
            words.until(Result, count=20)
    results = words.of(Result)
    numbers = [result.seq for result in results]
    assert numbers == sorted(set(numbers))  # rows come at their rate: a busy machine may miss some
    values = [float(str(result.answers["main"].results[0]["value"])) for result in results]
    begun = [number for number, value in enumerate(values) if value == 10.0]
    assert len(begun) == 3  # the first sum of one row, times the gain
    for start, end in pairwise([*begun, len(values)]):
        assert values[start:end] == [10.0 * count for count in range(1, end - start + 1)]
