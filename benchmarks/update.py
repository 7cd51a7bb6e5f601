"""An update of a 3.6 MB model, by a real agent from a real mosquitto, while it answers as many pictures as it can.

Measured from when the broker hands out the release document to when the agent says that it is committed, less the time
the trial lasts by its manifest; what the supervisor has written to the disk meanwhile, of the artifact's size; and
frames of the source that no result names (it waits for the model, so none is dropped for being late). Every chunk of
the model is new each time.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.releases import full_hd_pictures, mobilenet_release
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.topics import Topics
from edge_agent.release.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, Limits, parse_manifest
from examples.agent_process import CONFIG_HEAD, PATIENCE_S, AgentProcess
from tests.sim.artifact import make_members, pack
from tests.sim.broker import run_mosquitto
from tests.update.hostile import structure_of

_ROUNDS = 5
_PICTURES = 60  # so that a gap of frames is told by their names
_EVERY_BYTES = 1000  # one bit of the weights is another: no chunk stays what it was
_LIMITS = Limits(trial_frames=30, trial_s=2.0)
_AGENT_TOML = (
    CONFIG_HEAD
    + """\
[pipeline.camera]
model = "mobilenet"
source = {{ kind = "folder", path = "pictures", repeat = true }}
sinks = [{{ kind = "jsonl", path = "results.jsonl", max_bytes = 1000000000 }}]
"""
)


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "broker").mkdir()
        with run_mosquitto(folder / "broker") as broker:
            artifacts = _make_artifacts(folder)
            _write_pictures(folder)
            _edgectl(folder, "keys", "init", "keys").wait()
            with AgentProcess(folder, _AGENT_TOML.format(url=broker.url)) as agent:
                documents = _listen(broker.settings)
                rounds = [_update(agent, documents, broker.url, artifact) for artifact in artifacts]
                lost = _lost(agent)
        size_bytes = artifacts[0].stat().st_size
    seconds, written = zip(*rounds[1:], strict=True)  # the first one is an installation
    figures = {
        "update_s": round(statistics.median(seconds), 2),
        "slowest_s": round(max(seconds), 2),
        "ratio": round(statistics.median(written) / size_bytes, 3),
        "frames_lost": lost,
    }
    print(json.dumps({"benchmark": "update", "megabytes": round(size_bytes / 1e6, 1), **figures}))
    print(
        f"{_ROUNDS} updates: {figures['update_s']} s without the trial's {_LIMITS.trial_s} s, "
        f"{figures['ratio']} x the artifact written, {lost} frames lost",
        file=sys.stderr,
    )
    return figures


def _make_artifacts(folder: Path) -> list[Path]:
    release = mobilenet_release(folder / "release")
    model, labels = ((release / name).read_bytes() for name in (MODEL_FILE, LABELS_FILE))
    manifest = parse_manifest((release / MANIFEST_FILE).read_bytes())
    structure = set(structure_of(model))
    artifacts = []
    for number in range(_ROUNDS + 1):
        changed = bytearray(model)
        for place in range(number, len(model), _EVERY_BYTES):
            changed[place] ^= place not in structure
        version = f"{number}.0.0"
        members = make_members(bytes(changed), labels=labels, name=manifest.name, version=version, limits=_LIMITS)
        artifacts.append(pack(members, folder / f"mobilenet-{version}.edge"))
    return artifacts


def _write_pictures(folder: Path) -> None:
    shown = sorted(full_hd_pictures(folder / "shown").iterdir())
    (folder / "pictures").mkdir()
    for number in range(_PICTURES):
        (folder / "pictures" / f"{number:02}.jpg").write_bytes(shown[number % len(shown)].read_bytes())


def _listen(settings: BrokerSettings) -> "SimpleQueue[float]":
    """When release documents come, as somebody else sees them."""
    arrived: SimpleQueue[float] = SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _client, _user, _message: arrived.put(time.monotonic())
    client.connect(settings.host, settings.port)
    client.subscribe(Topics().release("mobilenet", "stable"), 1)
    client.loop_start()
    return arrived


def _update(agent: AgentProcess, documents: "SimpleQueue[float]", url: str, artifact: Path) -> tuple[float, float]:
    """How long it took, s, and what was written, bytes."""
    version = artifact.stem.partition("-")[2]
    before = _written_bytes(agent)
    pushing = _edgectl(agent.folder, "push", str(artifact), "--broker", url, "--keys", "keys")
    began_s = documents.get(timeout=PATIENCE_S)
    agent.wait_committed("camera", version)
    took_s = time.monotonic() - began_s - _LIMITS.trial_s
    written = _written_bytes(agent) - before
    pushing.wait()
    answered = len(agent.results("results.jsonl"))  # the next one is compared with this one
    agent.wait("frames", lambda: len(agent.results("results.jsonl")) > answered + 200)
    return took_s, written


def _written_bytes(agent: AgentProcess) -> int:
    """By the supervisor, which alone writes what is installed, into the page cache at the least."""
    lines = Path(f"/proc/{agent.pid}/io").read_text(encoding="ascii").splitlines()
    written = dict(line.split(": ") for line in lines)
    return int(written["write_bytes"])


def _lost(agent: AgentProcess) -> int:
    numbers = [int(str(json.loads(line)["input"]).partition(".")[0]) for line in agent.results("results.jsonl")]
    gaps = ((after - before - 1) % _PICTURES for before, after in pairwise(numbers))
    return sum(gaps)


def _edgectl(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "converter.cli", *arguments]
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr)


if __name__ == "__main__":
    main()
