"""The unit that is shipped: systemd accepts it, and it may do little."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parent.parent / "systemd" / "edge-agent.service"
MOST_EXPOSED = 2.0  # of 10; a plain unit has 9.2

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@needs_systemd
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    # The agent's own environment is not there: systemd would complain about the missing program, and only that.
    unit = tmp_path / "edge-agent.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", UNIT.read_text()))
    checked = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert checked.stderr == ""
    assert checked.returncode == 0


@needs_systemd
def test_the_unit_is_hardened() -> None:
    checked = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", UNIT], capture_output=True, text=True, check=False
    )
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", checked.stdout)
    assert score is not None, checked.stderr
    assert float(score[1]) <= MOST_EXPOSED


def test_the_unit_leaves_the_interpreter_its_fast_kernels() -> None:
    settings = UNIT.read_text()
    assert "ProcSubset=all" in settings  # `pid` hides /proc/cpuinfo, and XNNPACK then silently does nothing
    assert not re.search(r"(?m)^PrivateDevices=yes", settings)  # it would hide the camera


def test_the_unit_lets_the_probe_be_nicer_than_what_serves() -> None:
    filters = re.findall(r"(?m)^SystemCallFilter=(.*)", UNIT.read_text())
    assert "@resources" in filters[1]  # it holds setpriority(2), which nice(3) is made of
    assert filters[2] == "setpriority"


def test_the_unit_lets_the_agent_ask_whether_the_clock_is_right_and_not_set_it() -> None:
    settings = UNIT.read_text()
    assert "adjtimex" in re.findall(r"(?m)^SystemCallFilter=(.*)", settings)[-1]
    assert not re.search(r"(?m)^ProtectClock=yes", settings)  # it would forbid both
    assert re.search(r"(?m)^CapabilityBoundingSet=$", settings)


def test_the_installer_is_a_shell_script_that_builds_outside_of_the_checkout() -> None:
    script = UNIT.parent / "install.sh"
    subprocess.run(["sh", "-n", script], check=True)
    parts = re.search(r"for part in (.*); do cp", script.read_text())
    assert parts is not None
    assert all((UNIT.parent.parent / part).exists() for part in parts[1].split())
    assert re.findall(r"pip install .*", script.read_text()) == ['pip install --quiet --upgrade "$copy$extras"']
