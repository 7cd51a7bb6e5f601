"""Where results go, and that a disk or a broker that fails costs results and nothing else."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.inference.ipc import Result
from edge_agent.inference.sinks import JsonlSink, MqttSink
from tests.sim.clock import FakeClock

DIGEST = "d" * 64


def result(*labels: str | None, task: str = "classification", name: str = "a.jpg", seq: int = 1) -> Result:
    predictions = tuple({"label": label, "index": place, "score": 0.5} for place, label in enumerate(labels))
    return Result(DIGEST, seq, 1_750_000_000.25, name, task, predictions, {"invoke": 7.125})


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- JSON lines -------------------------------------------------------------------------------------------------


def test_each_result_is_one_json_object_a_line_appended(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    path.write_text('{"earlier": true}\n')
    sink = JsonlSink("birds", path, {DIGEST: "1.2.0"}.get)
    sink.take(result("kingfisher", "crow"))
    assert lines_of(path)[1:] == [  # there already: nothing is held back
        {
            "at": "2025-06-15T15:06:40.250Z",
            "pipeline": "birds",
            "digest": DIGEST,
            "version": "1.2.0",
            "input": "a.jpg",
            "task": "classification",
            "results": [
                {"label": "kingfisher", "index": 0, "score": 0.5},
                {"label": "crow", "index": 1, "score": 0.5},
            ],
            "latency_ms": {"invoke": 7.125},
        }
    ]
    sink.close()
    assert lines_of(path)[0] == {"earlier": True}


def test_a_version_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    sink = JsonlSink("birds", tmp_path / "birds.jsonl")
    sink.take(result("crow"))
    sink.close()
    assert "version" not in lines_of(tmp_path / "birds.jsonl")[0]


def test_a_full_disk_drops_results_and_says_so() -> None:
    sink = JsonlSink("birds", Path("/dev/full"))
    for _ in range(3):
        sink.take(result("crow"))
    assert sink.dropped == 3
    assert sink.problem == "/dev/full: No space left on device"
    sink.close()


def test_a_folder_that_comes_later_is_written_to_then(tmp_path: Path) -> None:
    sink = JsonlSink("birds", tmp_path / "mounted" / "birds.jsonl")
    sink.take(result("crow"))
    assert sink.dropped == 1
    assert "No such file" in str(sink.problem)
    (tmp_path / "mounted").mkdir()
    sink.take(result("owl"))
    assert sink.dropped == 1
    assert sink.problem is None
    sink.close()
    assert len(lines_of(tmp_path / "mounted" / "birds.jsonl")) == 1


def test_a_disk_that_takes_half_a_line_keeps_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    script = f"""
import resource, signal, sys
from pathlib import Path
from tests.inference.test_sinks import result
from edge_agent.inference.sinks import JsonlSink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
sink = JsonlSink("birds", Path({str(path)!r}))
for number in range(5):
    sink.take(result("crow", seq=number))
print(sink.dropped, sink.problem)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    written = lines_of(path)
    assert 0 < len(written) < 5
    assert output.split()[0] == str(5 - len(written))
    assert path.read_bytes().endswith(b"\n")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 700


def test_a_dash_is_stdout() -> None:
    script = """
from pathlib import Path
from tests.inference.test_sinks import result
from edge_agent.inference.sinks import JsonlSink
sink = JsonlSink("birds", Path("-"))
sink.take(result("crow"))
sink.close()
print("still open")
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    first, second = output.splitlines()
    assert json.loads(first)["results"][0]["label"] == "crow"
    assert second == "still open"


def test_a_reader_of_stdout_that_goes_away_costs_results_only() -> None:
    script = """
import sys
from pathlib import Path
from tests.inference.test_sinks import result
from edge_agent.inference.sinks import JsonlSink
sys.stdin.readline()
sink = JsonlSink("birds", Path("-"))
sink.take(result("crow"))
print(sink.dropped, sink.problem, file=sys.stderr)
"""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=writing, stderr=subprocess.PIPE, text=True) as child:
        os.close(writing)
        os.close(reading)
        _, told = child.communicate("\n")
    assert told.strip() == "1 -: Broken pipe"
    assert child.returncode == 0


# --- MQTT -------------------------------------------------------------------------------------------------------


class Broker:
    def __init__(self, when: str = "changed", min_interval_s: float = 1.0) -> None:
        self.clock = FakeClock()
        self.sent: list[bytes] = []
        self.connected = True
        self.sink = MqttSink(
            "birds",
            self._publish,
            when=when,  # type: ignore[arg-type]  # a string of the test's table
            min_interval_s=min_interval_s,
            clock=self.clock,
        )

    def _publish(self, payload: bytes) -> bool:
        if self.connected:
            self.sent.append(payload)
        return self.connected

    def see(self, *labels: str | None, task: str = "classification", after_s: float = 2.0) -> None:
        self.clock.advance(after_s)
        self.sink.take(result(*labels, task=task))

    @property
    def labels(self) -> list[list[str]]:
        return [[each["label"] for each in json.loads(payload)["results"]] for payload in self.sent]


def test_only_a_change_of_the_best_label_is_sent() -> None:
    broker = Broker()
    for labels in (["crow", "owl"], ["crow", "tit"], ["owl", "crow"], ["owl"], []):
        broker.see(*labels)
    assert broker.labels == [["crow", "owl"], ["owl", "crow"], []]


def test_of_a_detection_a_change_of_the_set_of_labels_is_sent() -> None:
    broker = Broker()
    for labels in (["dog", "cat"], ["cat", "dog"], ["cat", "cat", "dog"], ["cat"], []):
        broker.see(*labels, task="detection")
    assert broker.labels == [["dog", "cat"], ["cat"], []]


def test_a_model_without_labels_is_told_apart_by_its_classes() -> None:
    broker = Broker()
    broker.see(None)
    broker.see(None)
    assert len(broker.sent) == 1


def test_a_change_that_comes_too_soon_is_sent_when_it_lasts() -> None:
    broker = Broker(min_interval_s=1.0)
    broker.see("crow")
    broker.see("owl", after_s=0.4)
    assert broker.labels == [["crow"]]
    broker.see("owl", after_s=0.4)
    broker.see("owl", after_s=0.4)
    assert broker.labels == [["crow"], ["owl"]]


def test_a_change_that_does_not_last_is_not_sent() -> None:
    broker = Broker(min_interval_s=1.0)
    broker.see("crow")
    broker.see("owl", after_s=0.4)
    broker.see("crow", after_s=0.4)
    broker.sink.flush()
    assert broker.labels == [["crow"]]


def test_the_last_change_of_a_source_that_ends_is_sent() -> None:
    broker = Broker(min_interval_s=1.0)
    broker.see("crow")
    broker.see("owl", after_s=0.4)
    broker.sink.close()
    assert broker.labels == [["crow"], ["owl"]]


def test_a_change_while_the_link_is_down_is_told_of_and_sent_when_it_is_up_again() -> None:
    broker = Broker()
    broker.see("crow")
    broker.connected = False
    broker.see("owl")
    assert (broker.labels, broker.sink.dropped) == ([["crow"]], 1)
    assert "the link to the broker is down" in (broker.sink.problem or "")
    broker.connected = True
    broker.see("owl")
    broker.see("owl")
    assert broker.labels == [["crow"], ["owl"]]
    assert broker.sink.problem is None


@pytest.mark.parametrize(("min_interval_s", "sent"), [(0.0, 4), (5.0, 2)])
def test_always_sends_each_result_but_never_too_often(min_interval_s: float, sent: int) -> None:
    broker = Broker("always", min_interval_s)
    for _ in range(4):
        broker.see("crow", after_s=2.0)
    assert len(broker.sent) == sent
