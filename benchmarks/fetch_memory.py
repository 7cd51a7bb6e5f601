"""Memory (PSS) of the supervisor of a real agent while it pulls 100 MB, above what it has when idle.

The release is noise, so its probe refuses it in the end; by then it has been fetched, verified and installed. `ratio`
is the most that was seen above idle, of 20 MiB.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from threading import Event

from edge_agent.inference.process import read_pss_bytes
from examples.agent_process import CONFIG_HEAD, AgentProcess
from tests.sim.broker import Mosquitto, run_mosquitto
from tests.sim.releases import make_release

_MODEL_BYTES = 100_000_000
_ALLOWED_BYTES = 20 << 20
_EVERY_S = 0.02
_PATIENCE_S = 120.0
_CONFIG = (
    CONFIG_HEAD
    + """\
[pipeline.rows]
model = "birds"
source = {{ kind = "synthetic", content = "rows", columns = ["a"], rate_hz = 1.0 }}
"""
)


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary, run_mosquitto(Path(temporary)) as broker:
        folder = Path(temporary)
        _edgectl(folder, "keys", "init", "keys").wait()
        with AgentProcess(folder, _CONFIG.format(url=broker.url)) as agent:
            idle, most, seconds = _pull(folder, agent, broker)
    figures = {
        "idle_mib": round(idle / 2**20, 1),
        "most_mib": round(most / 2**20, 1),
        "above_mib": round((most - idle) / 2**20, 1),
        "seconds": round(seconds, 2),
        "ratio": round((most - idle) / _ALLOWED_BYTES, 3),
    }
    print(json.dumps({"benchmark": "fetch_memory", "megabytes": _MODEL_BYTES / 1e6, **figures}))
    print(f"idle {figures['idle_mib']} MiB, at most {figures['most_mib']} MiB", file=sys.stderr)
    return figures


def _pull(folder: Path, agent: AgentProcess, broker: Mosquitto) -> tuple[int, int, float]:
    """Bytes when idle, the most while it pulled, and how long that took, s."""
    make_release("1.0.0", Random(100).randbytes(_MODEL_BYTES)).write(folder / "large.edge")
    agent.wait("it to be idle", lambda: agent.stage("rows").get("phase") == "idle")
    never = Event()
    never.wait(1)
    idle = most = _pss(agent)
    began_s = time.monotonic()
    fetching_s = fetched_s = math.nan
    with _edgectl(folder, "push", "large.edge", "--broker", broker.url, "--keys", "keys") as pushing:
        while agent.last("rows").get("version") != "1.0.0":
            most = max(most, _pss(agent))
            phase = agent.stage("rows").get("phase")
            now_s = time.monotonic() - began_s
            fetching_s = now_s if math.isnan(fetching_s) and phase == "fetching" else fetching_s
            fetched_s = now_s if math.isnan(fetched_s) and phase == "staged" else fetched_s
            if now_s > _PATIENCE_S or pushing.poll() not in (None, 0):
                raise RuntimeError(f"it was not fetched: {agent.stage('rows')}\n{agent.log()[-3000:]}")
            never.wait(_EVERY_S)
    last = agent.last("rows")
    if last["reason"] not in ("not_a_model", "load_failed", "bad_manifest", "incompatible"):
        raise RuntimeError(f"it was to be fetched and refused by its probe, and was {last}")
    return idle, most, fetched_s - fetching_s


def _pss(agent: AgentProcess) -> int:
    size = read_pss_bytes(agent.pid)
    assert size is not None, "this needs Linux"
    return size


def _edgectl(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-m", "converter.cli", *arguments], cwd=folder, stdout=sys.stderr)


if __name__ == "__main__":
    main()
