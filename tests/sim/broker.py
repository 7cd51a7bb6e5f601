"""A real mosquitto (or amqtt, which speaks 3.1.1 only) on a free loopback port, for one test."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from edge_agent.clock import SystemClock
from edge_agent.link.broker import BrokerSettings

_START_S = 30.0
_LOOPBACK = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Mosquitto:
    """One broker process that can be stopped and started again on the same port, with or without its memory."""

    directory: Path
    extra: tuple[str, ...] = ()  # lines of mosquitto.conf
    port: int = field(default_factory=free_port)
    listener: tuple[str, ...] = ()  # lines for the listener: TLS files
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> BrokerSettings:
        return BrokerSettings(_LOOPBACK, self.port)

    @property
    def url(self) -> str:
        return f"mqtt://{_LOOPBACK}:{self.port}"

    def start(self) -> None:
        config = self.directory / "mosquitto.conf"
        anonymous = () if any(line.startswith("allow_anonymous") for line in self.extra) else ("allow_anonymous true",)
        lines = [f"listener {self.port} {_LOOPBACK}", *self.listener, *anonymous, *self.extra]
        if os.geteuid() == 0:
            lines.append("user root")  # else it could not read the test's own files
        config.write_text("\n".join(lines) + "\n")
        log = (self.directory / "mosquitto.log").open("ab")
        with log:
            self.process = subprocess.Popen([find_mosquitto(), "-c", str(config)], stdout=log, stderr=log)
        await_port(self.port, self.process)

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            if kill:
                self.process.kill()
            else:
                self.process.terminate()
            self.process.wait(10)
            self.process = None

    def log(self) -> str:
        return (self.directory / "mosquitto.log").read_text(errors="replace")


def find_mosquitto() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("mosquitto is not installed")
    return found


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Return once something accepts connections on `port`."""
    clock, never = SystemClock(), Event()
    deadline_s = clock.monotonic_s() + _START_S
    while clock.monotonic_s() < deadline_s:
        if process.poll() is not None:
            raise RuntimeError(f"the broker ended with {process.returncode}")
        try:
            socket.create_connection((_LOOPBACK, port), 1).close()
        except OSError:
            never.wait(0.02)
        else:
            return
    raise TimeoutError(f"no broker on port {port} within {_START_S:.0f} s")


@contextmanager
def run_mosquitto(directory: Path, *extra: str, listener: tuple[str, ...] = ()) -> Iterator[Mosquitto]:
    broker = Mosquitto(directory, extra, listener=listener)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def run_amqtt(directory: Path) -> Iterator[int]:
    """The embedded broker of the demo in a process of its own; gives its port."""
    pytest.importorskip("amqtt", reason="needs the extra `demo`")
    port = free_port()
    with (directory / "amqtt.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-c", _AMQTT, str(port)], stdout=log, stderr=log)
    try:
        await_port(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def password_file(directory: Path, users: Mapping[str, str]) -> Path:
    """A mosquitto password file."""
    tool = shutil.which("mosquitto_passwd")
    if tool is None:
        pytest.skip("mosquitto_passwd is not installed")
    path = directory / "passwords"
    path.write_text("".join(f"{user}:{password}\n" for user, password in users.items()))
    subprocess.run([tool, "-U", str(path)], check=True)
    return path


_AMQTT = """
import asyncio, sys, logging
from amqtt.broker import Broker
async def main():
    broker = Broker({
        "listeners": {"default": {"type": "tcp", "bind": "127.0.0.1:" + sys.argv[1]}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    })
    await broker.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""
