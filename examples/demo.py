"""The whole main job on this machine, with an embedded broker and real processes: `make demo`.

Converts, signs and pushes models to an agent with two pipelines (pictures like a camera's, rows of a line scanner),
then does to it what happens in the field: a better version, a version whose answers are wrong, a power cut in the
middle of an update. Ends by itself; exit 0 only if every step did what it should. `--json` prints one JSON line.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.agent_process import AgentProcess, WaitedTooLongError
from examples.broken import with_wrong_answers
from examples.digits import dataset

HERE = Path(__file__).parent
DIGITS = HERE / "digits"

AGENT_TOML = """\
[device]
id = "demo-pi"
labels = ["demo"]
[mqtt]
url = "mqtt://127.0.0.1:{port}"
[trust]
root = "keys/root.json"
[storage]
state_dir = "state"
[telemetry]
interval_s = 1
[pipeline.camera]
model = "digits"
source = {{ kind = "folder", path = "pictures", repeat = true, max_fps = 30 }}
sinks = [{{ kind = "jsonl", path = "camera.jsonl" }}, {{ kind = "mqtt" }}]
[pipeline.scanner]
model = "linescan"
source = {{ kind = "csv", path = "rows.csv", repeat = true, rate_hz = 160 }}
sinks = [{{ kind = "jsonl", path = "scanner.jsonl" }}]
"""

RECIPE = """\
scheme = "int8"
task = "{task}"
{input}
[limits]
min_top1_agreement = 0.9
[device]
trial_frames = 15
trial_s = 1.5
"""
CAMERA_INPUT = '[input]\nkind = "image"\ncolor = "gray"\nmean = [0]\nstd = [255]'
SCANNER_INPUT = '[input]\nkind = "signal"\nwindow = 8\nstride = 8'


class DemoError(Exception):
    """A step did not do what it should."""


@dataclass
class Summary:
    """What `--json` prints."""

    committed: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    reason: str | None = None
    bytes_full: int = 0  # sent for version 1
    bytes_delta: int = 0  # sent for version 2
    p95_ms: float | None = None  # of a picture's whole way through the camera pipeline
    recovered: bool = False
    results: int = 0  # lines that the camera's and the scanner's sinks have written
    seconds: float = 0.0


class Demo:
    """One run in a folder of its own."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.port = _free_port()
        self.say = say
        self.summary = Summary()
        self.agent = AgentProcess(folder, AGENT_TOML.format(port=self.port))

    def run(self) -> Summary:
        began_s = time.monotonic()
        self._prepare()
        with self._broker(), self.agent:
            self.say("\nThe agent runs: a supervisor, and a worker for each of its two pipelines.")
            self.step("version 1 of both models: convert to int8, sign, push", self._first_versions)
            self.step("version 2, better: only the chunks the broker lacks travel", self._better_version)
            self.step("version 3, whose answers are wrong", self._broken_version)
            self.step("version 4, and SIGKILL in the middle of its update", self._cut_off)
            self.step("what the fleet sees: edgectl devices", self._look)
            self._count_results()
        self.summary.seconds = round(time.monotonic() - began_s, 1)
        return self.summary

    def step(self, title: str, work: Callable[[], None]) -> None:
        self.say(f"\n== {title}")
        work()

    # --- the steps ------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        dataset.write_pictures(self.folder / "pictures", 60)
        dataset.write_pictures(self.folder / "calibration", 100, held_out=False)
        dataset.write_rows(self.folder / "rows.csv", 60)
        dataset.write_rows(self.folder / "calibration.csv", 100, held_out=False)
        camera = RECIPE.format(task="classification", input=CAMERA_INPUT)
        (self.folder / "camera.toml").write_text(camera)
        # a longer trial, so that there is a middle of the update to be cut off in
        (self.folder / "slow.toml").write_text(camera.replace("trial_s = 1.5", "trial_s = 8"))
        (self.folder / "scanner.toml").write_text(RECIPE.format(task="signal_classification", input=SCANNER_INPUT))
        self.say(self._edgectl("keys", "init", "keys"))

    def _first_versions(self) -> None:
        self._convert("digits_v1.tflite", "digits-1.0.0.edge", "camera.toml", "calibration")
        self._convert("linescan_v1.tflite", "linescan-1.0.0.edge", "scanner.toml", "calibration.csv")
        self.summary.bytes_full = self._push("digits-1.0.0.edge")
        self._push("linescan-1.0.0.edge")
        self._wait_committed("camera", "1.0.0")
        self._wait_committed("scanner", "1.0.0")
        self.summary.committed += ["digits-1.0.0", "linescan-1.0.0"]
        self.agent.wait("the camera pipeline to answer", lambda: len(self.agent.results("camera.jsonl")) >= 5)
        self.say(f"   a result: {self.agent.results('camera.jsonl')[-1][:180]}")

    def _better_version(self) -> None:
        self._convert("digits_v2.tflite", "digits-2.0.0.edge", "camera.toml", "calibration")
        self.summary.bytes_delta = self._push("digits-2.0.0.edge")
        self._wait_committed("camera", "2.0.0")
        self.summary.committed.append("digits-2.0.0")
        full, delta = self.summary.bytes_full, self.summary.bytes_delta
        self.say(f"   sent {delta:,} bytes; version 1 took {full:,}")
        if delta >= full:
            raise DemoError("version 2 took as many bytes as version 1")

    def _broken_version(self) -> None:
        with_wrong_answers(self.folder / "digits-2.0.0.edge", self.folder / "digits-3.0.0.edge", version="3.0.0")
        self._push("digits-3.0.0.edge")
        self.agent.wait("version 3 to be refused", lambda: self.agent.last("camera").get("version") == "3.0.0")
        last, serving = self.agent.last("camera"), self.agent.version("camera")
        if last["result"] != "rejected" or serving != "2.0.0":
            raise DemoError(f"version 3 was {last['result']}, and {serving} serves")
        self.summary.rejected.append("digits-3.0.0")
        self.summary.reason = last["reason"]
        self.say(f"   refused by the device itself: {last['reason']}: {last['detail']}")
        self.say(f"   still serving {serving}")

    def _cut_off(self) -> None:
        self._convert("digits_v2.tflite", "digits-4.0.0.edge", "slow.toml", "calibration", "--scheme", "float16")
        self._push("digits-4.0.0.edge")
        under_way = ("fetching", "staged", "trial")
        self.agent.wait("the update to be under way", lambda: self.agent.stage("camera").get("phase") in under_way)
        phase = self.agent.stage("camera").get("phase")
        self.agent.kill()
        self.say(f"   SIGKILL while {phase}; starting it again, as systemd would")
        self.agent.start()
        self._wait_committed("camera", "4.0.0")
        self.summary.committed.append("digits-4.0.0")
        self.summary.recovered = True
        self.summary.p95_ms = self._wait_latency()

    def _look(self) -> None:
        def is_seen() -> bool:
            said = self._edgectl("devices", *self._broker_option, "--json")
            device = json.loads(said) if said else {}  # it may have said nothing yet after its new start
            pipelines = (device.get("reported") or {}).get("pipelines", {})
            current = pipelines.get("camera", {}).get("main", {}).get("current") or {}
            return device.get("online") is True and current.get("version") == "4.0.0"

        self.agent.wait("the device to be seen", is_seen)
        self.say(self._edgectl("devices", *self._broker_option))

    def _count_results(self) -> None:
        self.summary.results = sum(len(self.agent.results(f"{name}.jsonl")) for name in ("camera", "scanner"))

    # --- what it is done with -------------------------------------------------------------------------------

    @property
    def _broker_option(self) -> tuple[str, str]:
        return ("--broker", f"mqtt://127.0.0.1:{self.port}")

    @contextlib.contextmanager
    def _broker(self) -> Iterator[None]:
        command = [sys.executable, "-m", "examples.broker", str(self.port)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=HERE.parent, stdin=pipe, stdout=pipe, stderr=self._log("broker")) as broker:
            assert broker.stdin is not None
            assert broker.stdout is not None
            if not broker.stdout.readline():
                raise DemoError(f"the broker did not start; see {self.folder}/broker.log")
            try:
                yield
            finally:
                broker.stdin.close()

    def _convert(self, model: str, artifact: str, recipe: str, calibration: str, *more: str) -> None:
        said = self._edgectl(
            *("convert", str(DIGITS / model), "-o", artifact, "--recipe", recipe),
            *("--labels", str(DIGITS / "labels.txt"), "--calibrate", calibration, *more),
        )
        self.say(said)

    def _push(self, artifact: str) -> int:
        said = json.loads(self._edgectl("push", artifact, *self._broker_option, "--keys", "keys", "--json"))["sent"]
        self.say(f"   pushed {artifact}: {said['bytes_sent']:,} bytes sent, {said['bytes_reused']:,} already there")
        return int(said["bytes_sent"])

    def _edgectl(self, *arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(
            [sys.executable, "-m", "converter.cli", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoError(f"edgectl {' '.join(arguments)} gave {done.returncode}:\n{done.stderr}")
        return done.stdout.rstrip()

    def _wait_committed(self, pipeline: str, version: str) -> None:
        self.agent.wait_committed(pipeline, version)
        self.say(f"   {pipeline}: {version} fetched, verified, probed, tried on live input, committed")

    def _wait_latency(self) -> float:
        self.agent.wait("latency in the report", lambda: self.agent.stage("camera").get("p95_ms") is not None)
        return float(self.agent.stage("camera")["p95_ms"])

    def _log(self, name: str) -> Any:
        return open(self.folder / f"{name}.log", "ab")  # the child keeps it


def table(summary: Summary) -> str:
    """The summary for a person."""
    share = summary.bytes_delta / summary.bytes_full if summary.bytes_full else 0.0
    rows = [
        ("committed", ", ".join(summary.committed)),
        ("refused by the device", f"{', '.join(summary.rejected)} ({summary.reason})"),
        ("version 1, bytes sent", f"{summary.bytes_full:,}"),
        ("version 2, bytes sent", f"{summary.bytes_delta:,} ({share:.0%} of version 1)"),
        ("a picture's way, p95", f"{summary.p95_ms} ms"),
        ("after SIGKILL", "recovered and committed" if summary.recovered else "NOT recovered"),
        ("results written", f"{summary.results:,}"),
        ("it took", f"{summary.seconds} s"),
    ]
    return "\n".join(f"  {name:<24}{value}" for name, value in rows)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description="the whole main job on this machine")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON line; everything else to stderr")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in FOLDER and leave it there")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-demo-")))
        folder.mkdir(parents=True, exist_ok=True)

        def say(text: str) -> None:
            print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

        try:
            summary = Demo(folder.absolute(), say).run()
        except (DemoError, WaitedTooLongError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        say(f"\n{table(summary)}")
        if arguments.json:
            print(json.dumps(vars(summary)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
