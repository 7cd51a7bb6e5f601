"""1,000 simulated devices take a release of 1 MB: from one mosquitto that is killed in the middle, and from a NATS
cluster of three nodes of which one is. Devices speak the real protocol in this process (`edgectl simulate`).

`ratio` is the share of the devices on mosquitto that ended with the release, `nats_ratio` of those on NATS;
`bytes_ratio` is what the first received, of what one of them needs times their number.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from converter.fleet.simulate.fleet import Fleet, Outcome, Plan
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.topics import Topics
from edge_agent.release.chunks import pack
from tests.sim.broker import run_mosquitto
from tests.sim.nats import run_nats_cluster
from tests.sim.releases import make_release, noise

_DEVICES = 1_000
_MODEL_BYTES = 1_000_000
_PATIENCE_S = 200.0
_RELEASE = make_release("1.0.0", noise(_MODEL_BYTES, "fleet"))


def main() -> dict[str, float]:
    """Measure, print one JSON line and a table, and return the figures."""
    with tempfile.TemporaryDirectory() as temporary:
        on_mosquitto = _on_mosquitto(_folder(temporary, "mosquitto"))
        on_nats = _on_nats(_folder(temporary, "nats"))
    needed = _DEVICES * sum(len(pack(chunk)) for chunk in _RELEASE.blobs.values())
    figures = {
        "devices": _DEVICES,
        "seconds": on_mosquitto.seconds,
        "ratio": round(on_mosquitto.versions.get("1.0.0", 0) / _DEVICES, 3),
        "bytes_ratio": round(on_mosquitto.chunk_bytes / needed, 3),
        "connections": on_mosquitto.connections,
        "nats_seconds": on_nats.seconds,
        "nats_ratio": round(on_nats.versions.get("1.0.0", 0) / _DEVICES, 3),
    }
    print(json.dumps({"benchmark": "fleet", **figures}))
    for name, outcome in (("mosquitto, killed", on_mosquitto), ("NATS, a node killed", on_nats)):
        print(f"{name:24}{outcome.settled} settled in {outcome.seconds:.1f} s", file=sys.stderr)
    return figures


def _on_mosquitto(folder: Path) -> Outcome:
    keeps = ("persistence true", f"persistence_location {folder}/", "autosave_on_changes true", "autosave_interval 5")
    with run_mosquitto(folder, *keeps) as broker:
        root = _publish(folder, broker.url)
        kill = partial(broker.stop, kill=True)
        return asyncio.run(_settle(root, broker.settings, kill, broker.start, connects_per_s=500.0))


def _on_nats(folder: Path) -> Outcome:
    with run_nats_cluster(folder) as nodes:
        root = _publish(folder, nodes[0].url)
        settings = BrokerSettings("127.0.0.1", nodes[1].mqtt_port)
        return asyncio.run(_settle(root, settings, nodes[0].kill, lambda: None, connects_per_s=100.0))


async def _settle(
    root: bytes, settings: BrokerSettings, kill: Callable[[], None], heal: Callable[[], None], *, connects_per_s: float
) -> Outcome:
    plan = Plan("birds", "stable", root, _DEVICES, connects_per_s=connects_per_s)
    some = _DEVICES * len(_RELEASE.blobs) // 4
    async with Fleet(plan, settings, Topics()) as fleet:
        while fleet.outcome().chunks < some:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)
        await asyncio.to_thread(kill)
        if fleet.outcome().settled == _DEVICES:
            raise RuntimeError("all had settled before anything was killed")
        await asyncio.to_thread(heal)
        return await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)


def _publish(folder: Path, url: str) -> bytes:
    _RELEASE.write(folder / "it.edge")
    for arguments in (["keys", "init", "keys"], ["push", "it.edge", "--broker", url, "--keys", "keys"]):
        subprocess.run([sys.executable, "-m", "converter.cli", *arguments], cwd=folder, check=True, stdout=sys.stderr)
    return (folder / "keys" / "root.json").read_bytes()


def _folder(parent: str, name: str) -> Path:
    folder = Path(parent) / name
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
