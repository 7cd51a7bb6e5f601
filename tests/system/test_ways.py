"""The other ways of a release with real processes: encrypted, over HTTPS, capped, and not in quiet hours."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.inference.process import read_pss_bytes
from edge_agent.release.pack_file import parse_table
from edge_agent.release.sealing import format_public, make_key, public_of
from examples.agent_process import AgentProcess
from tests.link.test_https import serving
from tests.sim.broker import Mosquitto
from tests.system.artifacts import Artifacts, edgectl
from tests.system.conftest import CONFIG

pytestmark = pytest.mark.system


@contextmanager
def running(folder: Path, broker: Mosquitto, artifacts: Artifacts, update: str) -> Iterator[AgentProcess]:
    """An agent whose [update] is this."""
    if not (folder / "keys").exists():
        edgectl(folder, "keys", "init", "keys")
    config = CONFIG.format(url=broker.url, pictures=artifacts.pictures)
    with AgentProcess(folder, f"{config}\n[update]\n{update}\n") as agent:
        yield agent


def problem_of(agent: AgentProcess) -> dict[str, str]:
    return dict(agent.stage("camera").get("problem") or {})


def test_a_release_encrypted_for_this_device_comes_over_https_and_one_for_others_does_not(
    tmp_path: Path, broker: Mosquitto, artifacts: Artifacts
) -> None:
    (tmp_path / "tls").mkdir()
    recipients = tmp_path / "recipients.txt"
    recipients.write_text(f"{format_public(public_of(make_key()))} somebody-else\n")
    to = ("--keys", "keys", "--encrypt-to", str(recipients))
    where = ("--broker", broker.url)
    first, second = str(artifacts["digits-1.0.0"]), str(artifacts["digits-2.0.0"])
    with serving(tmp_path / "tls") as server, running(tmp_path, broker, artifacts, f'ca_file = "{server.ca}"') as agent:
        edgectl(tmp_path, "push", first, *to, *where)
        agent.wait("it to say that it has no key", lambda: problem_of(agent).get("reason") == "no_key")
        assert agent.stage("camera").get("rejected", []) == []
        assert "/cryptography/" not in Path(f"/proc/{agent.pid}/maps").read_text()

        command = [sys.executable, "-m", "edge_agent.cli", "keys", "init", "-c", str(agent.config)]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        with recipients.open("a") as file:
            file.write(made.stdout)
        edgectl(tmp_path, "push", first, *to, *where)
        agent.wait_committed("camera", "1.0.0")

        edgectl(tmp_path, "export", second, "web", *to)
        server.hold_directory(tmp_path / "web")
        edgectl(tmp_path, "push", second, *to, *where, "--source", server.base, "--source-ca", str(server.ca))
        agent.wait_committed("camera", "2.0.0")

        (exported,) = (tmp_path / "web").iterdir()
        there_bytes = sum(place.size_bytes for place in parse_table(exported.read_bytes()).values())
        assert 0 < sum(end - first for first, end in server.ranges) < there_bytes  # what it has it does not ask for
        assert (read_pss_bytes(agent.pid) or 0) <= 40 * 1024 * 1024
        agent.wait("answers", lambda: len(agent.results("camera.jsonl")) > 5)


def test_in_quiet_hours_an_agent_says_what_it_waits_for_and_afterwards_it_fetches(
    tmp_path: Path, broker: Mosquitto, artifacts: Artifacts
) -> None:
    now = datetime.now(UTC).astimezone()
    begin, end = now - timedelta(hours=1), now + timedelta(hours=1)
    with running(tmp_path, broker, artifacts, f'quiet_hours = "{begin:%H:%M}-{end:%H:%M}"') as agent:
        edgectl(tmp_path, "push", str(artifacts["digits-1.0.0"]), "--keys", "keys", "--broker", broker.url)
        agent.wait("it to wait", lambda: problem_of(agent).get("reason") == "postponed")
        assert problem_of(agent)["detail"] == f"waits for the end of quiet hours at {end:%H:%M}"
        device = json.loads(edgectl(tmp_path, "devices", "--broker", broker.url, "--json").stdout)
        assert "postponed" in json.dumps(device)
        assert agent.version("camera") is None
    with running(tmp_path, broker, artifacts, f'quiet_hours = "{end:%H:%M}-{end + timedelta(hours=1):%H:%M}"') as agent:
        agent.wait_committed("camera", "1.0.0")


def test_a_capped_agent_gets_there_too(tmp_path: Path, broker: Mosquitto, artifacts: Artifacts) -> None:
    with running(tmp_path, broker, artifacts, "max_bytes_per_s = 100000\nspread_s = 1") as agent:
        edgectl(tmp_path, "push", str(artifacts["digits-1.0.0"]), "--keys", "keys", "--broker", broker.url)
        agent.wait_committed("camera", "1.0.0")
