"""Memory of the supervisor of a real agent that serves one pipeline from a real mosquitto, after some telemetry."""

import json
import sys
import tempfile
from pathlib import Path

from edge_agent.inference.process import read_pss_bytes
from examples.agent_process import AgentProcess
from tests.sim.broker import run_mosquitto
from tests.system.artifacts import edgectl, make_artifacts
from tests.system.conftest import CONFIG

_LIMIT_BYTES = 30 * 2**20


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "broker").mkdir()
        (folder / "artifacts").mkdir()
        artifacts = make_artifacts(folder / "artifacts")
        edgectl(folder, "keys", "init", "keys")
        with run_mosquitto(folder / "broker") as broker:
            config = CONFIG.format(url=broker.url, pictures=artifacts.pictures)
            with AgentProcess(folder, config) as agent:
                edgectl(
                    folder, "push", str(artifacts["digits-1.0.0"]), "--broker", broker.url, "--keys", "keys", "--json"
                )
                agent.wait_committed("camera", "1.0.0")
                agent.wait("results", lambda: len(agent.results("camera.jsonl")) > 200)
                size_bytes = read_pss_bytes(agent.pid)
    assert size_bytes is not None, "this needs Linux"
    figures = {"supervisor_pss_bytes": size_bytes, "ratio": round(size_bytes / _LIMIT_BYTES, 3)}
    print(json.dumps({"benchmark": "supervisor", **figures}))
    print(f"supervisor {size_bytes / 2**20:.1f} MiB PSS; {figures['ratio']} of the 30 MiB it may have", file=sys.stderr)
    return figures


if __name__ == "__main__":
    main()
