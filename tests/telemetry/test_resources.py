"""What the machine says of itself: this one, and a Raspberry Pi written down as files."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.telemetry.resources import ResourceMeter, read_hardware, throttle_names


@pytest.fixture
def pi(tmp_path: Path) -> Path:
    """The files of a Raspberry Pi that this looks at."""
    write(tmp_path / "proc/uptime", "350735.47 234388.90\n")
    write(tmp_path / "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    write(tmp_path / "etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n')
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "61834\n")
    write(tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_pi_tells_its_temperature_and_what_limits_it(pi: Path) -> None:
    resources = ResourceMeter(pi, root=pi).read()
    assert resources.temperature_c == 61.8
    assert resources.throttled == (
        "under_voltage",
        "throttled",
        "under_voltage_since_start",
        "throttled_since_start",
    )
    assert resources.uptime_s == 350735.5


def test_a_pi_says_what_it_is(pi: Path) -> None:
    hardware = read_hardware(pi)
    assert hardware.model == "Raspberry Pi 4 Model B Rev 1.5"
    assert hardware.os == "Debian GNU/Linux 12 (bookworm)"
    assert hardware.cpus == os.cpu_count()
    assert hardware.memory_bytes > 100_000_000


def test_a_pi_that_limits_nothing_says_so_and_one_that_cannot_tell_says_nothing(pi: Path) -> None:
    bits = pi / "sys/devices/platform/soc/soc:firmware/get_throttled"
    bits.write_text("0\n")
    assert ResourceMeter(pi, root=pi).read().to_json()["throttled"] == []
    bits.unlink()
    assert "throttled" not in ResourceMeter(pi, root=pi).read().to_json()


def test_what_a_machine_has_not_is_left_out(tmp_path: Path) -> None:
    write(tmp_path / "proc/uptime", "10.0 10.0\n")
    tree = ResourceMeter(tmp_path, root=tmp_path).read().to_json()
    assert {"temperature_c", "throttled", "workers_pss_bytes"} & set(tree) == set()
    assert read_hardware(tmp_path).model is None


def test_the_firmware_s_command_is_asked_where_the_kernel_does_not_tell(
    pi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    command = tmp_path / "bin" / "vcgencmd"
    write(command, '#!/bin/sh\necho "throttled=0x80008"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    names = ("soft_temperature_limit", "soft_temperature_limit_since_start")
    assert ResourceMeter(pi, root=pi).read().throttled == names


def test_a_command_that_fails_is_asked_once(pi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pi / "sys/devices/platform/soc/soc:firmware/get_throttled").unlink()
    command = tmp_path / "bin" / "vcgencmd"
    write(command, f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho VCHI initialization failed\nexit 255\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    meter = ResourceMeter(pi, root=pi)
    assert [meter.read().throttled, meter.read().throttled] == [None, None]
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_thermal_zones_that_cannot_be_read_are_passed_over(pi: Path) -> None:
    write(pi / "sys/class/thermal/thermal_zone1/temp", "nonsense\n")
    (pi / "sys/class/thermal/thermal_zone2/temp").mkdir(parents=True)
    assert ResourceMeter(pi, root=pi).read().temperature_c == 61.8


def test_this_machine_gives_sound_figures(tmp_path: Path) -> None:
    tree = ResourceMeter(tmp_path).read([os.getpid()]).to_json()
    json.dumps(tree)
    resources = ResourceMeter(tmp_path).read([os.getpid()])
    assert 0 <= resources.cpu_share <= 1
    assert 0 < resources.memory_available_bytes <= resources.memory_total_bytes
    assert 0 < resources.disk_free_bytes <= resources.disk_total_bytes
    assert resources.supervisor_pss_bytes is not None
    assert resources.workers_pss_bytes is not None
    assert resources.uptime_s > 0


@given(text=st.text(max_size=20))
def test_throttle_bits_are_names_or_an_error_of_value(text: str) -> None:
    try:
        names = throttle_names(text)
    except ValueError:
        return
    assert len(names) <= 8
