"""Lines of a file or of stdout: whole ones or none, in files that do not grow for ever."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from edge_agent.config.sinks import JsonlSink as JsonlConfig
from edge_agent.inference.sinks.jsonl import JsonlSink
from edge_agent.inference.sinks.tree import ResultFormat
from tests.sim.results import DIGEST, result


def open_sink(path: Path, max_bytes: int = 10_000_000, keep: int = 3) -> JsonlSink:
    return JsonlSink(
        JsonlConfig("jsonl", path, max_bytes, keep), ResultFormat("birds", ("main",), {DIGEST: "1.2.0"}.get)
    )


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def inputs_of(path: Path) -> list[object]:
    return [line["input"] for line in lines_of(path)]


def test_each_result_is_one_json_object_a_line_appended(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    path.write_text('{"earlier": true}\n')
    sink = open_sink(path)
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
            "latency_ms": {"capture": 1.5, "invoke": 7.125},
        }
    ]
    sink.close()
    assert lines_of(path)[0] == {"earlier": True}


def test_a_full_disk_drops_results_and_says_so() -> None:
    sink = open_sink(Path("/dev/full"))
    for _ in range(3):
        sink.take(result("crow"))
    assert sink.dropped == 3
    assert sink.problem == "/dev/full: No space left on device"
    sink.close()


def test_a_folder_that_comes_later_is_written_to_then(tmp_path: Path) -> None:
    sink = open_sink(tmp_path / "mounted" / "birds.jsonl")
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
from tests.inference.sinks.test_jsonl import open_sink, result
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
sink = open_sink(Path({str(path)!r}))
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
from tests.inference.sinks.test_jsonl import open_sink, result
sink = open_sink(Path("-"))
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
from tests.inference.sinks.test_jsonl import open_sink, result
sys.stdin.readline()
sink = open_sink(Path("-"))
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


# --- rotation -----------------------------------------------------------------------------------------------------


def length_of_a_line(tmp_path: Path) -> int:
    sink = open_sink(tmp_path / "one.jsonl")
    sink.take(result("crow", name="01.jpg"))
    sink.close()
    return (tmp_path / "one.jsonl").stat().st_size


def test_a_file_that_would_grow_too_large_is_put_aside_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    sink = open_sink(path, max_bytes=2 * length_of_a_line(tmp_path), keep=2)
    for number in range(1, 10):
        sink.take(result("crow", name=f"{number:02}.jpg"))
    sink.close()
    assert inputs_of(path) == ["09.jpg"]
    assert inputs_of(tmp_path / "birds.jsonl.1") == ["07.jpg", "08.jpg"]
    assert inputs_of(tmp_path / "birds.jsonl.2") == ["05.jpg", "06.jpg"]
    assert not (tmp_path / "birds.jsonl.3").exists()
    assert (sink.dropped, sink.problem) == (0, None)


def test_what_was_there_before_counts(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    path.write_text("x" * 1000 + "\n")
    sink = open_sink(path, max_bytes=1000)
    sink.take(result("crow"))
    sink.close()
    assert inputs_of(path) == ["a.jpg"]
    assert (tmp_path / "birds.jsonl.1").read_text() == "x" * 1000 + "\n"


def test_keeping_none_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    sink = open_sink(path, max_bytes=10, keep=0)
    sink.take(result("crow", name="1.jpg"))
    sink.take(result("crow", name="2.jpg"))  # each is larger than 10 bytes, and has a file of its own
    sink.close()
    assert inputs_of(path) == ["2.jpg"]
    assert os.listdir(tmp_path) == ["birds.jsonl"]


def test_a_rotation_that_was_cut_off_halfway_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    for suffix, text in (("", "newest"), (".2", "older"), (".3", "oldest")):  # as after the first of three renames
        path.with_name(path.name + suffix).write_text(f'{{"input": "{text}"}}\n')
    sink = open_sink(path, max_bytes=10)
    sink.take(result("crow"))
    sink.close()
    files = [path.with_name(path.name + suffix) for suffix in ("", ".1", ".2", ".3")]
    assert [inputs_of(file) for file in files] == [["a.jpg"], ["newest"], ["older"], ["oldest"]]


def test_a_file_that_cannot_be_put_aside_costs_results_and_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    (tmp_path / "birds.jsonl.1").mkdir()
    sink = open_sink(path, max_bytes=10, keep=1)
    sink.take(result("crow", name="1.jpg"))
    sink.take(result("crow", name="2.jpg"))
    assert sink.dropped == 1
    assert str(sink.problem) == f"{path} cannot be rotated: birds.jsonl.1 is a directory"
    assert inputs_of(path) == ["1.jpg"]
    (tmp_path / "birds.jsonl.1").rmdir()
    sink.take(result("crow", name="3.jpg"))
    sink.close()
    assert (inputs_of(path), sink.problem) == (["3.jpg"], None)


def test_half_a_line_that_a_power_cut_left_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    path.write_text('{"input": "1.jpg"}\n{"inp')
    sink = open_sink(path)
    sink.take(result("crow", name="2.jpg"))
    sink.close()
    first, torn, last = path.read_text().splitlines()
    assert (json.loads(first)["input"], torn, json.loads(last)["input"]) == ("1.jpg", '{"inp', "2.jpg")


def test_a_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "birds.jsonl"
    sink = open_sink(path)
    sink.take(result("crow", name="1.jpg"))
    path.unlink()
    sink.take(result("crow", name="2.jpg"))
    sink.close()
    assert inputs_of(path) == ["2.jpg"]
