"""Simulated fleets against real brokers: who converges, what it costs, and what a dead broker does to it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from converter.fleet.simulate.fleet import Fleet, Outcome, Plan
from converter.fleet.simulate.world import Behavior
from edge_agent.errors import InputError
from edge_agent.link.broker import BrokerSettings
from edge_agent.link.topics import Topics
from edge_agent.release.rollout import Rollout, belongs
from tests.sim.broker import Mosquitto, run_mosquitto
from tests.sim.nats import run_nats_cluster
from tests.sim.releases import SimRelease, make_release, noise
from tests.system.artifacts import edgectl

_PATIENCE_S = 100.0
_SIZE = 600_000
SOME = Rollout(percent=20, canary_devices=("sim-00001",))
_FIRST = make_release("1.0.0", noise(_SIZE, "1"))
_SECOND = make_release("2.0.0", noise(_SIZE // 2, "1") + noise(_SIZE // 2, "2"))


def plan(folder: Path, devices: int, **behavior: float) -> Plan:
    root = (folder / "keys" / "root.json").read_bytes()
    return Plan("birds", "stable", root, devices, behavior=Behavior(**behavior))


def push(folder: Path, url: str, release: SimRelease) -> None:
    release.write(folder / "it.edge")
    if not (folder / "keys").exists():
        edgectl(folder, "keys", "init", "keys")
    edgectl(folder, "push", "it.edge", "--broker", url, "--keys", "keys")


def simulate(
    plan: Plan, settings: BrokerSettings, work: Callable[[Fleet], Coroutine[Any, Any, Outcome]]
) -> tuple[Fleet, Outcome]:
    async def run() -> tuple[Fleet, Outcome]:
        async with Fleet(plan, settings, Topics()) as fleet:
            return fleet, await work(fleet)

    return asyncio.run(run())


def payload_bytes(release: SimRelease, *, without: SimRelease | None = None) -> int:
    from edge_agent.release.chunks import pack

    held = without.chunk_digests if without else set()
    return sum(len(pack(chunk)) for digest, chunk in release.blobs.items() if digest not in held)


def test_a_fleet_takes_a_release_and_then_only_what_is_new_of_the_next(tmp_path: Path, mosquitto: Mosquitto) -> None:
    push(tmp_path, mosquitto.url, _FIRST)

    async def work(fleet: Fleet) -> Outcome:
        first = await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)
        assert first.versions == {"1.0.0": 50}
        assert first.chunk_bytes == 50 * payload_bytes(_FIRST)
        await asyncio.to_thread(push, tmp_path, mosquitto.url, _SECOND)
        return await fleet.settle(version="2.0.0", timeout_s=_PATIENCE_S)

    fleet, second = simulate(plan(tmp_path, 50), mosquitto.settings, work)
    assert second.versions == {"2.0.0": 50}
    assert (second.online, second.settled, second.rejected, second.spoilt, second.chunks_again) == (50, 50, 0, 0, 0)
    more = second.chunk_bytes - 50 * payload_bytes(_FIRST)
    assert more == 50 * payload_bytes(_SECOND, without=_FIRST)
    assert {device.previous.target.version for device in fleet.devices if device.previous} == {"1.0.0"}


def test_the_fleet_is_seen_as_a_real_one_and_leaves_in_good_order(tmp_path: Path, mosquitto: Mosquitto) -> None:
    push(tmp_path, mosquitto.url, _FIRST)
    options = ["--root", "keys/root.json", "--broker", mosquitto.url, "--json", "--version", "1.0.0"]
    done = edgectl(tmp_path, "simulate", "birds", "--devices", "10", *options)
    assert json.loads(done.stdout)["versions"] == {"1.0.0": 10}
    said = edgectl(tmp_path, "devices", "--broker", mosquitto.url, "--json").stdout.splitlines()
    devices = [json.loads(line) for line in said]
    assert [device["id"] for device in devices] == [f"sim-{number:05}" for number in range(1, 11)]
    assert {device["online"] for device in devices} == {False}
    stages = [device["reported"]["pipelines"]["simulated"]["main"] for device in devices]
    assert {stage["current"]["version"] for stage in stages} == {"1.0.0"}


def test_the_share_that_is_to_fail_does_and_keeps_what_it_had(tmp_path: Path, mosquitto: Mosquitto) -> None:
    push(tmp_path, mosquitto.url, _FIRST)

    async def work(fleet: Fleet) -> Outcome:
        return await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)

    simulated = plan(tmp_path, 200, fail_share=0.3)
    _, outcome = simulate(simulated, mosquitto.settings, work)
    failing = sum(simulated.behavior.fails(f"sim-{number:05}", _FIRST.digest) for number in range(1, 201))
    assert outcome.settled == 200
    assert outcome.rejected == failing
    assert outcome.versions == {"1.0.0": 200 - failing, "none": failing}
    assert 30 <= failing <= 90


def test_a_rollout_reaches_its_share_first_is_halted_and_widened_and_gone_back_from(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    push(tmp_path, mosquitto.url, _FIRST)
    broker = ["--broker", mosquitto.url, "--keys", "keys"]

    async def order(*arguments: str) -> None:
        await asyncio.to_thread(edgectl, tmp_path, *arguments, *broker)

    async def work(fleet: Fleet) -> Outcome:
        first = await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)
        assert first.versions == {"1.0.0": 100}
        _SECOND.write(tmp_path / "it.edge")
        await order("push", "it.edge", "--percent", "20", "--canary-device", "sim-00001")
        some = await fleet.settle(version="2.0.0", timeout_s=_PATIENCE_S)
        in_it = {device.id for device in fleet.devices if device.current and device.current.target.version == "2.0.0"}
        inside = {device.id for device in fleet.devices if belongs(SOME, _SECOND.digest, device.id, ())}
        assert in_it == inside
        assert "sim-00001" in in_it
        assert (some.settled, some.holding) == (100, 100 - len(inside))
        await order("rollout", "widen", "100", "birds")
        while fleet.outcome().versions != {"2.0.0": 100}:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.05)
        await order("release", "revert", "birds")
        return await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)

    _, outcome = simulate(plan(tmp_path, 100), mosquitto.settings, work)
    assert outcome.versions == {"1.0.0": 100}
    assert (outcome.rejected, outcome.holding, outcome.spoilt) == (0, 0, 0)


def test_a_broker_that_dies_in_the_middle_costs_time_and_no_device(tmp_path: Path) -> None:
    folder = tmp_path / "broker"
    folder.mkdir()
    keeps = ("persistence true", f"persistence_location {folder}/", "autosave_on_changes true", "autosave_interval 1")
    with run_mosquitto(folder, *keeps) as broker:
        push(tmp_path, broker.url, _FIRST)

        async def work(fleet: Fleet) -> Outcome:
            while not (0 < fleet.outcome().chunks < 200 * len(_FIRST.blobs)):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
            await asyncio.to_thread(broker.stop, kill=True)
            was = fleet.outcome()
            assert was.settled < 200, "it was over before the broker was killed"
            await asyncio.to_thread(broker.start)
            return await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)

        _, outcome = simulate(plan(tmp_path, 200), broker.settings, work)
    assert outcome.versions == {"1.0.0": 200}
    assert (outcome.online, outcome.settled, outcome.spoilt) == (200, 200, 0)
    assert outcome.connections > 200
    one = max(map(len, _FIRST.blobs.values())) + 1_000
    assert outcome.chunk_bytes <= 200 * (payload_bytes(_FIRST) + 8 * one), "more than a window came twice"


def test_a_node_of_a_nats_cluster_dies_in_the_middle(tmp_path: Path) -> None:
    with run_nats_cluster(tmp_path) as nodes:
        push(tmp_path, nodes[0].url, _FIRST)

        async def work(fleet: Fleet) -> Outcome:
            while not any(device.tally.chunks for device in fleet.devices):  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
            await asyncio.to_thread(nodes[0].kill)
            return await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)

        settings = BrokerSettings("127.0.0.1", nodes[1].mqtt_port)
        _, outcome = simulate(plan(tmp_path, 30), settings, work)
    assert outcome.versions == {"1.0.0": 30}
    assert outcome.spoilt == 0


def test_a_document_by_other_keys_moves_nobody_and_is_told(tmp_path: Path, mosquitto: Mosquitto) -> None:
    push(tmp_path, mosquitto.url, _FIRST)
    edgectl(tmp_path, "keys", "init", "others")

    async def work(fleet: Fleet) -> Outcome:
        await fleet.settle(version="1.0.0", timeout_s=_PATIENCE_S)
        command = ["push", "it.edge", "--broker", mosquitto.url, "--keys", "others", "--replace-foreign"]
        _SECOND.write(tmp_path / "it.edge")
        await asyncio.to_thread(edgectl, tmp_path, *command)
        return await fleet.settle(version="2.0.0", timeout_s=2.0)

    _, outcome = simulate(plan(tmp_path, 5), mosquitto.settings, work)
    assert outcome.versions == {"1.0.0": 5}
    devices = edgectl(tmp_path, "devices", "--broker", mosquitto.url, "--json").stdout.splitlines()
    problems = [json.loads(line)["reported"]["pipelines"]["simulated"]["main"]["problem"] for line in devices]
    assert {problem["reason"] for problem in problems} == {"signature"}


def test_it_ends_with_4_when_nothing_is_published(tmp_path: Path, mosquitto: Mosquitto) -> None:
    edgectl(tmp_path, "keys", "init", "keys")
    options = ["--root", "keys/root.json", "--broker", mosquitto.url, "--json", "--timeout-s", "1"]
    done = edgectl(tmp_path, "simulate", "birds", "--devices", "3", *options, expect=4)
    outcome = json.loads(done.stdout)
    assert (outcome["online"], outcome["settled"], outcome["versions"]) == (3, 0, {"none": 3})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--root", "nowhere.json"], "nowhere.json cannot be read"),
        (["--name", "a.b"], "cannot begin a device id"),
        (["--devices", "0"], "--devices"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, mosquitto: Mosquitto, options: list[str], words: str) -> None:
    edgectl(tmp_path, "keys", "init", "keys")
    command = [sys.executable, "-m", "converter.cli", "simulate", "birds", "--broker", mosquitto.url]
    given = [*command, "--root", "keys/root.json", "--timeout-s", "1", *options]
    done = subprocess.run(given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode not in (0, 4)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_more_connections_than_this_system_allows_are_refused_before_the_first(tmp_path: Path) -> None:
    import resource

    edgectl(tmp_path, "keys", "init", "keys")

    async def run() -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0], limits[0]))
            with pytest.raises(InputError, match="open files"):
                Fleet(plan(tmp_path, limits[0] + 1), BrokerSettings("127.0.0.1", 1), Topics())
        finally:
            if limits[1] == resource.RLIM_INFINITY or limits[1] >= limits[0]:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    asyncio.run(run())
