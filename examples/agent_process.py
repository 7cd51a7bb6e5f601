"""A real `edge-agent run` as a child: started, killed, asked, waited for. Used by demo, tests and benchmarks."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self

from edge_agent.clock import SystemClock
from edge_agent.config.pipeline import ONLY_STAGE
from edge_agent.control import NotRunningError, ask

CONFIG_HEAD = """\
[device]
id = "bench-pi"
[mqtt]
url = "{url}"
[trust]
root = "keys/root.json"
[storage]
state_dir = "state"
"""  # of an `agent.toml` beside its keys, to be formatted with the broker's url
PATIENCE_S = 60.0  # for anything that is waited for; what takes longer has failed
_POLL_S = 0.05


class WaitedTooLongError(AssertionError):
    """What was waited for has not come about; the agent's log is in the message."""


class AgentProcess:
    """One agent, run in `folder` with `folder/agent.toml`; its state is in `folder/state`, its log in `agent.log`."""

    def __init__(self, folder: Path, config: str) -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        self.config.write_text(config, encoding="utf-8")
        self.state = folder / "state"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "it runs"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "edge_agent.cli", "run", "-c", str(self.config)]
        with open(self.folder / "agent.log", "ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.wait("the agent to answer", lambda: bool(self._pipelines()))

    def stop(self) -> int | None:
        """As systemd does; returns the exit code, None if it was not running."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process = None

    def kill(self) -> None:
        """SIGKILL: as near to a power cut as a process gets."""
        assert self._process is not None, "it runs"
        self._process.kill()
        self._process.wait()
        self._process = None

    def stage(self, pipeline: str, stage: str = ONLY_STAGE) -> dict[str, Any]:
        """What `edge-agent status` says of a stage; empty while it says nothing."""
        return dict(self._pipelines().get(pipeline, {}).get(stage, {}))

    def version(self, pipeline: str, stage: str = ONLY_STAGE) -> str | None:
        """Version of the committed release."""
        current = self.stage(pipeline, stage).get("current")
        return str(current["version"]) if current else None

    def last(self, pipeline: str, stage: str = ONLY_STAGE) -> dict[str, Any]:
        """How its last update ended."""
        return dict(self.stage(pipeline, stage).get("last") or {})

    def wait_committed(self, pipeline: str, version: str, stage: str = ONLY_STAGE) -> None:
        """Until `version` is committed; an outcome of another kind for it ends the wait at once."""

        def is_committed() -> bool:
            last = self.last(pipeline, stage)
            if last.get("version") == version and last["result"] != "committed":
                why = f"{last.get('reason')}: {last.get('detail')}"
                raise WaitedTooLongError(f"{pipeline}: {version} was {last['result']}: {why}")
            return self.version(pipeline, stage) == version and self.stage(pipeline, stage).get("phase") == "idle"

        self.wait(f"{pipeline} to commit {version}", is_committed)

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Until `holds()`.

        Raises:
            WaitedTooLongError: it does not within a minute, or the agent has ended.
        """
        clock, never = SystemClock(), Event()
        end_s = clock.monotonic_s() + PATIENCE_S
        while not holds():
            ended = self._process is not None and self._process.poll() is not None
            if ended or clock.monotonic_s() > end_s:
                why = "the agent ended" if ended else f"waited {PATIENCE_S:.0f} s"
                raise WaitedTooLongError(f"{why} while waiting for {what}\n{self.log()[-6000:]}")
            clock.wait(never, _POLL_S)

    def results(self, name: str) -> list[str]:
        """Whole lines of a JSON-lines sink in the folder."""
        path = self.folder / name
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def log(self) -> str:
        return (self.folder / "agent.log").read_text(encoding="utf-8", errors="replace")

    def _pipelines(self) -> dict[str, Any]:
        try:
            return dict(ask(self.state, {"ask": "status"})["pipelines"])
        except NotRunningError:
            return {}
