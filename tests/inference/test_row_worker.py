"""Rows through a real worker: a topic of a real broker, a named pipe, and an end that does not wait for either."""

import json
import os
import signal
import subprocess
from pathlib import Path
from threading import Event

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.row_sources import StdinSource, TopicSource
from edge_agent.inference.ipc import Feed, FeedTrouble, FrameFailed, Result, Serving, SourceTrouble, StageStart, Start
from edge_agent.inference.process import WorkerProcess
from edge_agent.link.subscription import Subscription
from tests.inference.releases import WAIT_S, Words, linescan_release
from tests.sim.broker import Mosquitto

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
