"""The doctor, on machines laid out in a folder and on this one."""

import json
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from edge_agent.cli import cli
from edge_agent.config.agent import Config, MqttConfig, parse_config
from edge_agent.doctor.check import Check, Machine, run_command, this_machine
from edge_agent.doctor.child import TINY_MODEL
from edge_agent.doctor.doctor import format_checks, is_well
from edge_agent.doctor.hardware import (
    check_cameras,
    check_delegates,
    check_disk,
    check_memory,
    check_microphones,
    check_power,
    check_temperature,
)
from edge_agent.doctor.software import ask_child, check_extras, check_interpreter, check_python, check_system
from edge_agent.doctor.surroundings import check_broker, check_clock, check_config, check_service
from edge_agent.telemetry.resources import Resources
from tests.sim.certificates import make_authority
from tests.sim.clock import FakeClock

RESOURCES = Resources(
    cpu_share=0.1,
    load_1min=0.1,
    memory_available_bytes=3_000_000_000,
    memory_total_bytes=4_000_000_000,
    supervisor_pss_bytes=None,
    workers_pss_bytes=None,
    disk_free_bytes=1,
    disk_total_bytes=1,
    uptime_s=1.0,
)
RUNS: dict[str, object] = {"library": "ai-edge-litert 2.3.0", "numpy": "2.4.6", "delegated": True, "right": True}


def machine(root: Path, answers: Mapping[str, str] | None = None) -> Machine:
    """`answers`: program → what it prints; any other is not installed."""

    def run(command: Sequence[str]) -> str | None:
        return (answers or {}).get(command[0])

    return Machine(root, run)


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def config(source: Mapping[str, object], **more: object) -> Config:
    return parse_config({"pipeline": {"porch": {"model": "birds", "source": source, **more}}})


def advised(check: Check, verdict: str, *words: str) -> None:
    assert check.verdict == verdict, check
    assert check.advice, "whoever is warned is told what to do"
    for word in words:
        assert word in f"{check.detail} {check.advice}", check


# --- software -----------------------------------------------------------------------------------------------------


def test_a_python_without_an_interpreter_is_told() -> None:
    assert check_python((3, 11), 64).verdict == "ok"
    assert check_python((3, 13), 64).verdict == "ok"
    advised(check_python((3, 10), 64), "fail", "3.11 is needed")
    advised(check_python((3, 11), 32), "warn", "only tflite-runtime")
    advised(check_python((3, 13), 32), "fail", "64-bit")


def test_a_system_without_glibc_or_with_an_old_one_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"etc/os-release": 'PRETTY_NAME="Alpine"\n', "proc/device-tree/model": "Raspberry Pi 5\0"})
    found = check_system(machine(tmp_path), ("glibc", "2.36"))
    assert found.verdict == "ok"
    assert "Alpine" in found.detail
    assert "Raspberry Pi 5, glibc 2.36" in found.detail
    advised(check_system(machine(tmp_path), ("", "")), "fail", "without glibc")
    advised(check_system(machine(tmp_path), ("glibc", "2.24")), "fail", "2.27")
    assert "unknown system" in check_system(machine(tmp_path / "none"), ("glibc", "2.36")).detail


def test_the_interpreter_of_this_machine_runs_the_tiny_model() -> None:
    checks = check_interpreter(this_machine(), ask_child("interpreter"))
    assert [(check.name, check.verdict) for check in checks] == [("interpreter", "ok"), ("xnnpack", "ok")]
    assert TINY_MODEL.stat().st_size < 1000


def test_kernels_that_are_missing_are_told_with_their_likely_cause(tmp_path: Path) -> None:
    found = {**RUNS, "delegated": False}
    advised(check_interpreter(machine(tmp_path), found)[1], "fail", "ProcSubset=pid")
    write(tmp_path, {"proc/cpuinfo": "processor: 0"})
    advised(check_interpreter(machine(tmp_path), found)[1], "fail", "build for this processor")
    older = {**found, "library": "tflite-runtime 2.14.0"}
    assert check_interpreter(machine(tmp_path), older)[1].verdict == "warn"
    advised(check_interpreter(machine(tmp_path), {**RUNS, "right": False})[0], "fail", "wrong answers")
    broken = check_interpreter(machine(tmp_path), {"error": "no interpreter works here", "hint": "numpy<2"})
    assert len(broken) == 1
    advised(broken[0], "fail", "numpy<2")


def test_an_optional_library_is_missed_only_where_it_is_needed() -> None:
    camera = config({"kind": "camera", "device": "csi"})
    without, needed = ({check.name: check for check in check_extras(given)} for given in (None, camera))
    assert all(check.verdict == "ok" for check in without.values())
    if "not installed" in without["extra picamera2"].detail:
        advised(needed["extra picamera2"], "fail", "the camera of pipeline porch", "apt-get install")
    names = [name for name, check in needed.items() if check.verdict == "fail"]
    assert set(names) <= {"extra picamera2"}


def test_a_child_that_crashes_is_an_error_like_any_other(tmp_path: Path) -> None:
    found = ask_child("delegate", str(tmp_path / "libnone.so"))
    assert "not on this machine" in str(found["error"])
    assert "ended with exit code" in str(ask_child("delegate")["error"])


# --- hardware -----------------------------------------------------------------------------------------------------


def test_cameras_are_told_as_the_configuration_needs_them(tmp_path: Path) -> None:
    wanted = config({"kind": "camera", "device": "/dev/video0"})
    assert check_cameras(machine(tmp_path), None).verdict == "ok"
    advised(check_cameras(machine(tmp_path), wanted), "fail", "/dev/video0", "found no camera")
    write(tmp_path, {"dev/video0": ""})
    assert check_cameras(machine(tmp_path), wanted).verdict == "ok"
    other = config({"kind": "camera", "device": "/dev/video2"})
    advised(check_cameras(machine(tmp_path), other), "fail", "/dev/video2; found /dev/video0")


def test_a_camera_that_this_user_may_not_use_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"dev/video0": ""})
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may use every device
    advised(check_cameras(machine(tmp_path), None), "warn", "usermod -aG")
    advised(check_cameras(machine(tmp_path), config({"kind": "camera"})), "fail", "/dev/video0 may not be used")


def test_microphones_are_told_as_the_configuration_needs_them(tmp_path: Path) -> None:
    wanted = config({"kind": "microphone"})
    listed = machine(tmp_path, {"arecord": "card 1: Device [USB Audio], device 0\n"})
    assert check_microphones(listed, wanted) == Check("microphones", "ok", "1: card 1: Device [USB Audio], device 0")
    advised(check_microphones(machine(tmp_path), wanted), "fail", "alsa-utils")
    advised(check_microphones(machine(tmp_path, {"arecord": ""}), wanted), "fail", "usermod -aG audio")
    assert check_microphones(machine(tmp_path), None).verdict == "ok"


def test_delegates_are_tried_in_a_process_of_their_own(tmp_path: Path) -> None:
    assert check_delegates(machine(tmp_path), None)[0].verdict == "ok"
    source = {"kind": "folder", "path": "pictures"}
    missing = str(tmp_path / "libnone.so")
    strict, lenient = (
        check_delegates(machine(tmp_path), config(source, delegate={"library": missing, "fallback": fallback}))
        for fallback in (False, True)
    )
    advised(strict[0], "fail", "not on this machine")
    assert lenient[0].verdict == "warn"
    usb = "sys/bus/usb/devices/1-1"
    write(
        tmp_path,
        {f"{usb}/idVendor": "1a6e\n", f"{usb}/idProduct": "089a\n", f"{usb}/busnum": "1", f"{usb}/devnum": "4"},
    )
    plugged = check_delegates(machine(tmp_path), None)[0]
    assert plugged.name == "delegate libedgetpu.so.1"
    assert plugged.verdict == "warn", "it is plugged in, and cannot be used"


def test_heat_and_power_are_told_in_words() -> None:
    assert check_temperature(RESOURCES).verdict == "ok"
    assert check_temperature(replace(RESOURCES, temperature_c=50.0)).verdict == "ok"
    advised(check_temperature(replace(RESOURCES, temperature_c=78.0)), "warn", "fan")
    advised(check_temperature(replace(RESOURCES, temperature_c=84.0)), "fail", "84.0")
    assert check_power(RESOURCES).verdict == "ok"
    assert check_power(replace(RESOURCES, throttled=())).verdict == "ok"
    since = check_power(replace(RESOURCES, throttled=("under_voltage_since_start", "throttled_since_start")))
    advised(since, "warn", "the supply voltage was too low since the start; the processor was slowed", "power supply")
    advised(check_power(replace(RESOURCES, throttled=("under_voltage",))), "fail", "too low now")
    advised(check_power(replace(RESOURCES, throttled=("throttled",))), "warn", "fan")


def test_memory_counts_what_the_control_group_allows(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal: 4000000 kB\nSwapTotal: 102400 kB\n"})
    found = check_memory(machine(tmp_path), RESOURCES)
    assert found.verdict == "ok"
    assert "swap 105 MB" in found.detail
    group = {"proc/self/cgroup": "0::/system.slice/edge.service\n"}
    limits = {
        "sys/fs/cgroup/system.slice/edge.service/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/memory.max": "90000000",
    }
    write(tmp_path, {**group, **limits})
    advised(check_memory(machine(tmp_path), RESOURCES), "warn", "limited to 90 MB")
    short = replace(RESOURCES, memory_available_bytes=60_000_000)
    advised(check_memory(machine(tmp_path / "none"), short), "fail", "60 MB of 4000 MB")


def test_the_disk_of_the_state_directory_is_looked_at_before_it_is_there(tmp_path: Path) -> None:
    assert check_disk(tmp_path / "not" / "yet").verdict == "ok"


# --- surroundings ---------------------------------------------------------------------------------------------------


def test_a_wrong_configuration_is_told_whole(tmp_path: Path) -> None:
    path = write(tmp_path, {"agent.toml": "[pipeline.porch]\nmodel = 'birds'\n"}) / "agent.toml"
    checked, found = check_config(path)
    advised(checked, "fail", "source")
    assert found is None
    path.write_text("[pipeline.porch]\nmodel = 'birds'\nsource = { kind = 'folder', path = 'pictures' }\n")
    checked, found = check_config(path)
    advised(checked, "warn", "there is no", "pictures")
    assert found is not None
    (tmp_path / "pictures").mkdir()
    assert check_config(path)[0].verdict == "ok"


def test_a_clock_that_is_wrong_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"dev/rtc0": ""})
    later = 1_800_000_000.0
    assert check_clock(machine(tmp_path, {"timedatectl": "yes\n"}), FakeClock(later)).verdict == "ok"
    assert "plausible (a real-time clock)" in check_clock(machine(tmp_path), FakeClock(later)).detail
    advised(check_clock(machine(tmp_path, {"timedatectl": "no\n"}), FakeClock(later)), "warn", "set-ntp")
    advised(check_clock(machine(tmp_path / "none"), FakeClock(0.0)), "fail", "1970-01-01", "no real-time clock")


def test_a_broker_is_reached_or_the_reason_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert check_broker(MqttConfig(f"mqtt://127.0.0.1:{port}")).verdict == "ok"
    advised(check_broker(MqttConfig(f"mqtt://127.0.0.1:{port}")), "fail", "nothing listens there")
    missing = MqttConfig("mqtt://127.0.0.1", username="me", password_file=Path("/nowhere"))
    advised(check_broker(missing), "fail", "password file")


def test_a_broker_with_tls_shows_a_certificate_that_is_right(tmp_path: Path) -> None:
    authority = make_authority(tmp_path, "ca")
    certificate, key = authority.issue("broker", address="127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(listening: socket.socket) -> None:
        plain, _ = listening.accept()
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            secured.recv(1)

    for ca_file, verdict in ((authority.file, "ok"), (None, "fail")):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = Thread(target=serve, args=(listening,))
            server.start()
            url = f"mqtts://127.0.0.1:{listening.getsockname()[1]}"
            found = check_broker(MqttConfig(url, ca_file=ca_file))
            server.join()
        assert found.verdict == verdict, found
        assert ("its certificate is right" if verdict == "ok" else "certificate is not trusted") in found.detail


def test_the_service_is_told_as_systemd_has_it(tmp_path: Path) -> None:
    def unit(**properties: str) -> Check:
        said = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "NRestarts": "0", **properties}
        text = "".join(f"{name}={value}\n" for name, value in said.items())
        return check_service(machine(tmp_path, {"systemctl": text}))

    assert "not run by systemd" in unit().detail
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert unit() == Check("service", "ok", "edge-agent.service is active (running)")
    assert "not installed" in unit(LoadState="not-found").detail
    advised(unit(ProcSubset="pid"), "fail", "/proc/cpuinfo")
    advised(unit(ActiveState="failed", Result="exit-code"), "fail", "exit-code", "journalctl")
    advised(unit(NRestarts="3"), "warn", "3 times")


# --- all of it --------------------------------------------------------------------------------------------------------


def test_the_command_tells_everything_and_fails_where_something_is_at_fault(tmp_path: Path) -> None:
    path = write(tmp_path, {"agent.toml": "[pipeline.porch]\nmodel = 'birds'\n"}) / "agent.toml"
    found = CliRunner().invoke(cli, ["doctor", "-c", str(path), "--json"])
    assert found.exit_code == 1
    tree = json.loads(found.stdout)
    assert tree["well"] is False
    verdicts = {check["name"]: check["verdict"] for check in tree["checks"]}
    assert (verdicts["configuration"], verdicts["interpreter"]) == ("fail", "ok")
    assert {"python", "system", "cameras", "memory", "disk", "clock", "service"} <= set(verdicts)
    assert "broker" not in verdicts


def test_the_table_puts_the_advice_under_what_is_not_well() -> None:
    checks = [Check("python", "ok", "3.11"), Check("power", "warn", "too low", "another supply")]
    assert format_checks(checks).splitlines() == [
        "ok   python  3.11",
        "WARN power   too low",
        "             → another supply",
        "",
        "0 faults, 1 warning",
    ]
    assert is_well(checks)
    assert not is_well([*checks, Check("disk", "fail", "full", "room")])


def test_a_command_that_fails_or_is_not_there_gives_nothing() -> None:
    assert run_command(["echo", "here"]) == "here\n"
    assert run_command(["false"]) is None
    assert run_command(["no-such-program-anywhere"]) is None
