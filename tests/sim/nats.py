"""A real NATS cluster on loopback: three nodes, MQTT on each, everything kept three times. For one test."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from edge_agent.clock import SystemClock
from tests.sim.broker import await_port, free_port

_NODES = 3
_START_S = 60.0


@dataclass
class Node:
    name: str
    folder: Path
    mqtt_port: int = field(default_factory=free_port)
    client_port: int = field(default_factory=free_port)
    cluster_port: int = field(default_factory=free_port)
    monitor_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.mqtt_port}"

    def start(self, program: str, routes: list[str]) -> None:
        config = self.folder / f"{self.name}.conf"
        config.write_text(
            f'server_name: {self.name}\nlisten: "127.0.0.1:{self.client_port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f'jetstream {{ store_dir: "{self.folder / self.name}", max_mem: 64M, max_file: 1G }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.mqtt_port}", stream_replicas: {_NODES} }}\n'
            f'cluster {{ name: edge, listen: "127.0.0.1:{self.cluster_port}", routes: {json.dumps(routes)} }}\n'
        )
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def is_healthy(self) -> bool:
        """Whether it has caught up with the cluster."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor_port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def run_nats_cluster(folder: Path) -> Iterator[list[Node]]:
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nats-server is not installed")
    nodes = [Node(f"node{number}", folder) for number in range(_NODES)]
    routes = [f"nats://127.0.0.1:{node.cluster_port}" for node in nodes]
    try:
        for node in nodes:
            node.start(program, routes)
        for node in nodes:
            assert node.process is not None
            await_port(node.mqtt_port, node.process)
        clock, never = SystemClock(), Event()
        end_s = clock.monotonic_s() + _START_S
        while not all(node.is_healthy() for node in nodes):
            if clock.monotonic_s() > end_s:
                raise TimeoutError("the cluster has not become healthy")
            clock.wait(never, 0.2)
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None:
                node.kill()
